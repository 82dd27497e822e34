# Table 1: instance norm with learned scale and shift at all ten sites of the decoder.
_base_ = '../ugatit_selfie2anime.py'
model = dict(generator=dict(norm='in'))
