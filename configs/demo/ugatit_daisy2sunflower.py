# The pair that comes with the package (ugatit_mm/weights): daisies <-> sunflowers, light, narrow,
# 128 px, from 1,121 photographs. Less than a hundredth of the paper's iterations, at a higher rate.
_base_ = '../ugatit_custom.py'
img_size = 128
load_size = 143

model = dict(
    domains=dict(A='daisy', B='sunflower'),
    generator=dict(light=True, base_channels=16),
    # 256 px and (7, 5) layers are to each other as 128 px and (6, 4).
    discriminator=dict(base_channels=16, num_layers=(6, 4)),
    # At the paper's 1000 the attention takes most of so short a training.
    loss_config=dict(cam=100.0),
)
optimizer = dict(lr=2e-4)
optim_wrapper = dict(generators=dict(optimizer=optimizer), discriminators=dict(optimizer=optimizer))
train_cfg = dict(max_iters=8_000, val_interval=2_000)
default_hooks = dict(checkpoint=dict(interval=500, max_keep_ckpts=2))
randomness = dict(seed=0)
