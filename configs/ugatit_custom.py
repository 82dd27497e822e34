# Your own images in ROOT/trainA, trainB, testA, testB. On the command line:
#   --cfg-options data_root=ROOT domains.A=daisy domains.B=sunflower
# and, as needed: img_size=128 model.generator.light=True train_cfg.max_iters=100000
_base_ = [
    '_base_/models/ugatit.py',
    '_base_/datasets/unpaired_256.py',
    '_base_/schedules/ugatit_1m.py',
    '_base_/default_runtime.py',
]
data_root = 'data/custom'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
