# Your own images in ROOT/trainA, trainB, testA, testB. On the command line:
#   --cfg-options data_root=ROOT domains.A=daisy domains.B=sunflower
# where shapes change: model.generator.concat=False model.attribute_encoder.concat=False
# and, for 1200 epochs of N pictures, E = N / 2 iterations each: model.epoch_images=N
# train_cfg.max_iters=1200*E param_scheduler.end=1201*E param_scheduler.interval=E
_base_ = '../_base_/drit.py'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root='data/custom'))
