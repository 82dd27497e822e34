# Your own images in ROOT/trainA, trainB, testA, testB. On the command line:
#   --cfg-options data_root=ROOT domains.A=daisy domains.B=sunflower
_base_ = '../_base_/munit.py'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root='data/custom'))
