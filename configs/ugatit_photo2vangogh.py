# photo -> vangogh: CycleGAN's vangogh2photo with A and B exchanged. The 400 paintings
# serve training and test alike.
_base_ = [
    '_base_/models/ugatit.py',
    '_base_/datasets/unpaired_256.py',
    '_base_/schedules/ugatit_1m.py',
    '_base_/default_runtime.py',
]
data_root = 'data/photo2vangogh'
paper_images = dict(trainA=6287, trainB=400, testA=751, testB=400)  # the paper's counts

model = dict(domains=dict(A='photo', B='vangogh'))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
