# Your own images in ROOT/trainA, trainB, testA, testB. On the command line:
#   --cfg-options data_root=ROOT domains.A=daisy domains.B=sunflower
# and, for 100 epochs of N pictures:
#   train_cfg.max_iters=100*N model.switch_iters=30*N param_scheduler.interval=N
_base_ = '../_base_/aggan.py'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root='data/custom'))
