# CartoonGAN, selfie -> anime, its only direction among the paper's: 10 and 100 epochs at batch 8.
_base_ = ['../_base_/cartoongan.py', '../_base_/datasets/selfie2anime.py']
model = dict(domains=_base_.domain_names, init_iters=10 * _base_.epoch_iters // 8)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=_base_.data_root))
train_cfg = dict(max_iters=110 * _base_.epoch_iters // 8)
param_scheduler = dict(milestones=[n * _base_.epoch_iters // 8 for n in (60, 85)])
