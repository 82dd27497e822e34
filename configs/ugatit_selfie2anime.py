# selfie -> anime: 3400 + 3400 training and 100 + 100 test images, all 256 x 256.
_base_ = [
    '_base_/models/ugatit.py',
    '_base_/datasets/unpaired_256.py',
    '_base_/schedules/ugatit_1m.py',
    '_base_/default_runtime.py',
]
data_root = 'data/selfie2anime'
paper_images = dict(trainA=3400, trainB=3400, testA=100, testB=100)  # the paper's counts

model = dict(domains=dict(A='selfie', B='anime'))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
