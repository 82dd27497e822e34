# As unpaired_256.py, with a second copy of each picture of B, its edges smoothed, for CartoonGAN's
# discriminator. Resized to 256 x 256, neither flipped nor cropped, as in its PyTorch program.
#
# To flip and crop, do the same to both of them, after SmoothEdges:
#   dict(type='Flip', keys=['img_B', 'img_B_smooth']),
#   dict(type='FixedCrop', keys=['img_B', 'img_B_smooth'], crop_size=(256, 256)),
# Canny then sees the picture at load_size, so that a few more edges pass its thresholds.
_base_ = 'unpaired_256.py'

train_pipeline = [
    *_base_.test_pipeline[:2],  # load A and B at img_size
    dict(type='SmoothEdges', key='img_B', to='img_B_smooth'),
    dict(
        type='PackInputs',
        keys=['img_A', 'img_B', 'img_B_smooth'],
        meta_keys=[*_base_.meta_keys, 'img_B_smooth_channel_order', 'img_B_smooth_color_type'],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
