# MUNIT, photo -> portrait: 1,000,000 iterations.
_base_ = ['../_base_/munit.py', '../_base_/datasets/photo2portrait.py']
model = dict(domains=_base_.domain_names)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=_base_.data_root))
