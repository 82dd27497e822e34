# As unpaired_256.py, but training keeps the aspect ratio: it resizes the shorter side to 256 before
# the random crop, like UNIT's and MUNIT's program. A square picture is only flipped.
_base_ = 'unpaired_256.py'
train_pipeline = [
    dict(step, scale=(256, 256), keep_ratio=True) if step['type'] == 'LoadRGBImage' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
