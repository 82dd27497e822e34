# cat -> dog: DRIT's cats and dogs. The paper's training figures are DRIT's totals
# and its test figures repeat horse2zebra's; tools/dataset_converters/prepare.py says more.
_base_ = [
    '_base_/models/ugatit.py',
    '_base_/datasets/unpaired_256.py',
    '_base_/schedules/ugatit_1m.py',
    '_base_/default_runtime.py',
]
data_root = 'data/cat2dog'
paper_images = dict(trainA=871, trainB=1364, testA=120, testB=140)  # the paper's counts

model = dict(domains=dict(A='cat', B='dog'))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
