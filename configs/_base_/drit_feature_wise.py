# DRIT with feature-wise attributes: for data whose shapes change (its authors' README).
_base_ = 'drit.py'
model = dict(attribute_encoder=dict(concat=False), generator=dict(concat=False))
