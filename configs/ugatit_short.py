# U-GAT-IT for small budgets, minutes or hours instead of the paper's days, by the trials of
# docs/small_budgets.md. Your own images as in ugatit_custom.py:
#   --cfg-options data_root=ROOT domains.A=daisy domains.B=sunflower train_cfg.max_iters=20000
# and crop_size=None where a task is not local: shapes, whole faces.
_base_ = 'ugatit_custom.py'
img_size = 128
crop_size = 64  # training sees parts of pictures

model = dict(
    # At the paper's 1000 the attention takes most of so short a training.
    loss_config=dict(cam=1.0),
    # What would be hidden in faint patterns for the way back is lost in noise.
    cycle_noise=0.05,
    generator=dict(light=True, base_channels=16, num_blocks=2),
    # 256 px and (7, 5) layers are to each other as 64 px and (5, 4).
    discriminator=dict(base_channels=16, num_layers=(5, 4)),
)
optimizer = dict(lr=4e-4)
optim_wrapper = dict(generators=dict(optimizer=optimizer), discriminators=dict(optimizer=optimizer))
train_cfg = dict(max_iters=10_000, val_interval=1_000)
default_hooks = dict(
    ema=dict(momentum=0.005),
    checkpoint=dict(interval=500),
    sheets=dict(interval=1_000),
)
