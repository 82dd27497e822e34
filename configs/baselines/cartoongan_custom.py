# Your own photographs in ROOT/trainA, testA, cartoons in ROOT/trainB, testB. On the command line:
#   --cfg-options data_root=ROOT domains.A=selfie domains.B=anime
# and, for epochs of N iterations (the pictures of the smaller folder over 8):
#   model.init_iters=10*N train_cfg.max_iters=110*N param_scheduler.milestones=60*N,85*N
_base_ = '../_base_/cartoongan.py'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root='data/custom'))
