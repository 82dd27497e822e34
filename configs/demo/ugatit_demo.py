# The demo: photographs <-> ink drawings, minutes on two CPU cores. `ugatit demo` makes the
# data and runs everything.
_base_ = '../ugatit_short.py'

model = dict(
    domains=dict(A='photo', B='drawing'),
    # A drawing has no colours: the cycle photo -> drawing -> photo would make it hide them.
    cycle_domains='B',
    cycle_noise=0.0,
)
train_dataloader = dict(num_workers=1)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)

train_cfg = dict(max_iters=2000)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=500, max_keep_ckpts=2),
    ema=dict(gamma=1),
    sheets=dict(interval=500),
    rho=dict(interval=50),
    bad_pictures=None,
    watch=None,  # its first warning would come after 2000 iterations
)
val_evaluator = test_evaluator = [dict(type='TransStats')]
log_processor = dict(window_size=50)
randomness = dict(seed=0)
