# DRIT, selfie -> anime: 500,000 iterations that train everything.
_base_ = ['../_base_/drit_feature_wise.py', '../_base_/datasets/selfie2anime.py']
model = dict(domains=_base_.domain_names, epoch_images=_base_.epoch_iters)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=_base_.data_root))
train_cfg = dict(max_iters=1_496_480)
param_scheduler = dict(end=_base_.end * (_base_.epoch_iters // 2), interval=_base_.epoch_iters // 2)
