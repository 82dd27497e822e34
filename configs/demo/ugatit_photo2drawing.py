# The pair that comes with the package (ugatit_mm/weights): photographs <-> charcoal drawings. Data
# of `ugatit drawings`; training sees parts of 96 px of 256 px.
_base_ = '../ugatit_short.py'
img_size = 256
crop_size = 96

model = dict(
    domains=dict(A='photo', B='drawing'),
    # A drawing has no colours: the cycle photo -> drawing -> photo would make it hide them.
    cycle_domains='B',
    cycle_noise=0.0,
    generator=dict(base_channels=24),
    discriminator=dict(base_channels=24, num_layers=(6, 4)),
)
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root='data/drawings'))
train_cfg = dict(max_iters=8_000, val_interval=4_000)
default_hooks = dict(ema=dict(momentum=0.002), checkpoint=dict(max_keep_ckpts=40))
randomness = dict(seed=0)
