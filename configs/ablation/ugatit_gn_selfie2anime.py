# Table 1: group norm, 32 groups, learned scale and shift, at all ten sites of the
# decoder.
_base_ = '../ugatit_selfie2anime.py'
model = dict(generator=dict(norm='gn', norm_groups=32))
