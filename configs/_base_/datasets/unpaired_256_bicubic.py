# As unpaired_256.py, but with Pillow's bicubic resize: CycleGAN's program and what follows it.
_base_ = 'unpaired_256.py'
train_pipeline = [
    dict(step, interpolation='bicubic') if step['type'] == 'LoadRGBImage' else step
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, interpolation='bicubic') if step['type'] == 'LoadRGBImage' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
