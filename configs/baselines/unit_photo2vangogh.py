# UNIT, photo -> vangogh: 1,000,000 iterations.
_base_ = ['../_base_/unit.py', '../_base_/datasets/photo2vangogh.py']
model = dict(domains=_base_.domain_names)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=_base_.data_root))
