# Table 1: no CAM in the generators: no classifier, no 1 x 1 convolution, no CAM
# loss.
_base_ = '../ugatit_selfie2anime.py'
model = dict(generator=dict(cam=False))
