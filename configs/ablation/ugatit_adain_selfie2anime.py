# Table 1: gamma and beta of the MLP with rho fixed at 1 in the blocks, IN in
# up-sampling.
_base_ = '../ugatit_selfie2anime.py'
model = dict(generator=dict(norm='adain'))
