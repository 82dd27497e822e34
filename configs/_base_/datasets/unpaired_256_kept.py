# As unpaired_256.py, but training resizes pictures in their own proportions, the shorter side to
# 256, before the random crop: UNIT's and MUNIT's program. A square one is flipped at most.
_base_ = 'unpaired_256.py'
train_pipeline = [
    dict(step, scale=(256, 256), keep_ratio=True) if step['type'] == 'LoadRGBImage' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
