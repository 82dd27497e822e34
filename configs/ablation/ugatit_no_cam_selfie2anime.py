# Table 1: no CAM in generators and discriminators.
_base_ = '../ugatit_selfie2anime.py'
model = dict(generator=dict(cam=False), discriminator=dict(cam=False))
