# The demo: photographs <-> pencil drawings, light, narrow, 64 px, minutes on two CPU cores.
# tools/demo.py makes the data and runs everything.
_base_ = '../ugatit_custom.py'
img_size = 64
load_size = 72

model = dict(
    domains=dict(A='photo', B='pencil'),
    generator=dict(light=True, base_channels=16, num_blocks=2),
    # 256 px and (7, 5) layers are to each other as 64 px and (5, 4).
    discriminator=dict(base_channels=16, num_layers=(5, 4)),
    # At the paper's 1000 the attention takes most of so short a training.
    loss_config=dict(cam=100.0),
)
train_dataloader = dict(num_workers=1)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)

# A thousandth of the paper's iterations, at a higher rate, from smaller networks.
optimizer = dict(lr=4e-4)
optim_wrapper = dict(generators=dict(optimizer=optimizer), discriminators=dict(optimizer=optimizer))
train_cfg = dict(max_iters=1000, val_interval=250)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=250, max_keep_ckpts=2),
    sheets=dict(interval=250),
    rho=dict(interval=50),
    bad_pictures=None,
    watch=None,  # its first warning would come after 2000 iterations
    # A higher priority than its own: the bar moves before a hook can stop the training.
    progress=dict(type='ProgressBarHook', priority='LOW'),
)
test_evaluator = [
    dict(type='TransStats'),
    # Features that need no download; their KID is not Inception's.
    dict(
        type='TransKID', extractor=dict(type='ColourHOGFeatures'), subset_size=10, num_subsets=100
    ),
]
log_processor = dict(window_size=50)
log_level = 'WARNING'  # the progress bar instead of log lines; vis_data/ has them all
randomness = dict(seed=0)
