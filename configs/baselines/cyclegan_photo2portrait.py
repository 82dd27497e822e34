# CycleGAN, photo -> portrait: 200 epochs.
_base_ = ['../_base_/cyclegan.py', '../_base_/datasets/photo2portrait.py']
model = dict(domains=_base_.domain_names)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=_base_.data_root))
train_cfg = dict(max_iters=200 * _base_.epoch_iters)
param_scheduler = dict(interval=_base_.epoch_iters)
