# The demo: photographs <-> charcoal drawings, light, narrow, minutes on two CPU cores. Training
# sees parts of 64 px of pictures of 128 px. tools/demo.py makes the data and runs everything.
_base_ = '../ugatit_custom.py'
img_size = 128
crop_size = 64

model = dict(
    domains=dict(A='photo', B='drawing'),
    generator=dict(light=True, base_channels=16, num_blocks=2),
    # 256 px and (7, 5) layers are to each other as 64 px and (5, 4).
    discriminator=dict(base_channels=16, num_layers=(5, 4)),
    # At the paper's 1000 the attention takes most of so short a training: docs/small_budgets.md.
    loss_config=dict(cam=1.0),
)
train_dataloader = dict(num_workers=1)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)

# A five-hundredth of the paper's iterations, at a higher rate, from smaller networks.
optimizer = dict(lr=4e-4)
optim_wrapper = dict(generators=dict(optimizer=optimizer), discriminators=dict(optimizer=optimizer))
train_cfg = dict(max_iters=2000)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=500, max_keep_ckpts=2),
    ema=dict(momentum=0.005, gamma=1),
    sheets=dict(interval=500),
    rho=dict(interval=50),
    bad_pictures=None,
    watch=None,  # its first warning would come after 2000 iterations
    # A higher priority than its own: the bar moves before a hook can stop the training.
    progress=dict(type='ProgressBarHook', priority='LOW'),
)
val_evaluator = test_evaluator = [dict(type='TransStats')]
log_processor = dict(window_size=50)
log_level = 'WARNING'  # the progress bar instead of log lines; vis_data/ has them all
randomness = dict(seed=0)
