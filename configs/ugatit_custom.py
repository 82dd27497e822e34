# Your own images in ROOT/trainA, trainB, testA, testB. On the command line:
#   --cfg-options data_root=ROOT domains.A=daisy domains.B=sunflower
# and, as needed: img_size=128 model.generator.light=True train_cfg.max_iters=100000
_base_ = '_base_/ugatit.py'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root='data/custom'))
