# Unpaired folders trainA, trainB, testA, testB, at 256 x 256. A config sets data_root.
#
# To change the size, set img_size (and, if you like, load_size, crop_size), in a child config or by
# `--cfg-options img_size=128`: the project's tools set them in every pipeline below and in the
# model. Set img_size = None if you write your own pipelines and want them as they are.
img_size = 256  # or (height, width)
load_size = None  # before the random crop; None: the shorter side + 30, as the official program
crop_size = None  # size in training; None: img_size. A number: parts of pictures, cheaper steps
channels = None  # of the pictures, 1 (grey) to 8 (bands); None: as in pipelines and model (RGB)

# Recorded with each sample; without the channel order MMagic would assume BGR.
meta_keys = [
    'img_A_path',
    'img_B_path',
    'ori_img_A_shape',
    'ori_img_B_shape',
    'img_A_channel_order',
    'img_B_channel_order',
    'img_A_color_type',
    'img_B_color_type',
]
pack_inputs = dict(
    type='PackInputs',
    keys=['img_A', 'img_B'],
    data_keys=['img_A', 'img_B'],
    meta_keys=meta_keys,
)

# Where files of 16 bits hold fewer, set deep_range, as (0, 4095), in a child config or by
# `--cfg-options deep_range=0,4095`: it goes to every LoadRGBImage; dict(A=..., B=...) by domain.

# Like U-GAT-IT's official PyTorch program: flip, resize (Pillow's bilinear), crop, for A and B
# independently. Pillow resizes while it loads, which is faster and gives the pixels of flipping
# first. Flip draws once for all its keys, so each domain has its own step; Crop draws for each key.
train_pipeline = [
    dict(type='LoadRGBImage', key='img_A', scale=(load_size or img_size + 30,) * 2),
    dict(type='LoadRGBImage', key='img_B', scale=(load_size or img_size + 30,) * 2),
    dict(type='Flip', keys=['img_A'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img_B'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Crop', keys=['img_A', 'img_B'], crop_size=(img_size, img_size)),
    # Without data_keys: training needs no second copy of the images in data_samples.
    dict(type='PackInputs', keys=['img_A', 'img_B'], meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadRGBImage', key='img_A', scale=(img_size, img_size)),
    dict(type='LoadRGBImage', key='img_B', scale=(img_size, img_size)),
    pack_inputs,
]

# Two workers keep up with a step of 25 ms for JPEGs up to 1024 px. For photographs of several
# megapixels take more, or dataset.cache, which keeps them resized: docs/performance.md.
train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),  # stacks in the worker: two tensors a batch to receive
    worker_init_fn=dict(type='shield_worker'),
    sampler=dict(type='UnpairedSampler', shuffle=True),
    dataset=dict(type='UGATITDataset', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    worker_init_fn=dict(type='shield_worker'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='UGATITDataset', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
