# AGGAN, horse -> zebra: 100 epochs, 30 of them in the first phase.
_base_ = ['../_base_/aggan.py', '../_base_/datasets/horse2zebra.py']
model = dict(domains=_base_.domain_names, switch_iters=30 * _base_.epoch_iters)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=_base_.data_root))
train_cfg = dict(max_iters=100 * _base_.epoch_iters)
param_scheduler = dict(interval=_base_.epoch_iters)
