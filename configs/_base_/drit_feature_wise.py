# DRIT with attributes that go in feature-wise: for data whose shapes change (its authors' README).
_base_ = 'drit.py'
model = dict(attribute_encoder=dict(concat=False), generator=dict(concat=False))
