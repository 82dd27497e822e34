# Table 1: no CAM in the discriminators: no CAM logits, no reweighting.
_base_ = '../ugatit_selfie2anime.py'
model = dict(discriminator=dict(cam=False))
