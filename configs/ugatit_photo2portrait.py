# photo -> portrait: DRIT's photographs and portraits. The paper's training figures are
# DRIT's totals; its random test split is unpublished.
_base_ = [
    '_base_/models/ugatit.py',
    '_base_/datasets/unpaired_256.py',
    '_base_/schedules/ugatit_1m.py',
    '_base_/default_runtime.py',
]
data_root = 'data/photo2portrait'
paper_images = dict(trainA=6452, trainB=1811, testA=751, testB=400)  # the paper's counts

model = dict(domains=dict(A='photo', B='portrait'))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
