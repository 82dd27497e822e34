# U-GAT-IT for small budgets, minutes or hours instead of the paper's days, from the trials in
# docs/small_budgets.md. Your own images as in ugatit_custom.py:
#   --cfg-options data_root=ROOT domains.A=daisy domains.B=sunflower train_cfg.max_iters=20000
# and crop_size=None where a task is not local: shapes, whole faces.
_base_ = 'ugatit_custom.py'
img_size = 128
crop_size = 64  # training sees parts of pictures

model = dict(
    # At the paper's 1000 the attention takes most of such a short training.
    loss_config=dict(cam=1.0),
    # Noise destroys faint patterns in which the networks would hide the way back.
    cycle_noise=0.05,
    generator=dict(light=True, base_channels=16, num_blocks=2),
    # (5, 4) layers are to 64 px what (7, 5) are to 256 px.
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
