# DRIT, cat -> dog: 1200 epochs.
_base_ = ['../_base_/drit_feature_wise.py', '../_base_/datasets/cat2dog.py']
model = dict(domains=_base_.domain_names, epoch_images=_base_.epoch_iters)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=_base_.data_root))
train_cfg = dict(max_iters=_base_.epochs * (_base_.epoch_iters // 2))
param_scheduler = dict(end=_base_.end * (_base_.epoch_iters // 2), interval=_base_.epoch_iters // 2)
