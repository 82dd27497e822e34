# Paper, section 5.1: Adam, betas (0.5, 0.999), weight decay 1e-4, batch 1, learning rate 1e-4 for
# 500,000 iterations, then linear to 0 at 1,000,000.
train_cfg = dict(type='UGATITTrainLoop', max_iters=1_000_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The recipe sets what decays; optim_wrapper.weight_decay_scope='kernels' or 'all' overrides it.
optimizer = dict(type='Adam', lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4, fused=True)
optim_wrapper = dict(
    constructor='UGATITOptimWrapperConstructor',
    generators=dict(type='OptimWrapper', optimizer=optimizer),
    discriminators=dict(type='OptimWrapper', optimizer=optimizer),
)

# Follows train_cfg.max_iters. interval=10_000 gives the steps of the TensorFlow program.
param_scheduler = dict(type='LinearDecayLR', by_epoch=False, constant=0.5, interval=1)
