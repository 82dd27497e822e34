# As unpaired_256_bicubic.py, with the sizes of DRIT's program: 256 x 256, whatever the aspect
# ratio, and a random crop of 216. Its tests use the centre of 256, ours the whole picture.
_base_ = 'unpaired_256_bicubic.py'
img_size = None  # as below; a number sets the crop and the test size, load_size the rest
sizes = dict(LoadRGBImage=dict(scale=(256, 256)), Crop=dict(crop_size=(216, 216)))
train_pipeline = [dict(step, **sizes.get(step['type'], {})) for step in _base_.train_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
