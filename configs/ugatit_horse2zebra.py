# horse -> zebra: horses and zebras of ImageNet, as CycleGAN split them.
_base_ = [
    '_base_/models/ugatit.py',
    '_base_/datasets/unpaired_256.py',
    '_base_/schedules/ugatit_1m.py',
    '_base_/default_runtime.py',
]
data_root = 'data/horse2zebra'
paper_images = dict(trainA=1067, trainB=1334, testA=120, testB=140)  # the paper's counts

model = dict(domains=dict(A='horse', B='zebra'))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
