# 1200 epochs at batch size 2, at most 500,000 iterations that train everything, one of three: Adam,
# betas (0.5, 0.999), weight decay 1e-4, learning rate 1e-4, of the content discriminator 4e-5.
# Epoch e, from 0 on, has min(1, (1201 - e) / 601) of it: sets that stop before epoch 601 never
# decay.
#
# An epoch is half of max(|A|, |B|) iterations; a data set's base gives twice that as
# epoch_iters. Without one it is 500: set train_cfg.max_iters to 1200 epochs, param_scheduler.end to
# 1201 and param_scheduler.interval to one.
epochs, end = 1200, 1201  # of the training, of the decay
train_cfg = dict(type='UGATITTrainLoop', max_iters=600_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

adam = dict(type='Adam', betas=(0.5, 0.999), weight_decay=1e-4, fused=True)
optim_wrapper = dict(
    constructor='UGATITOptimWrapperConstructor',
    discriminators=dict(type='OptimWrapper', optimizer=dict(lr=1e-4, **adam)),
    content_discriminator=dict(type='OptimWrapper', optimizer=dict(lr=4e-5, **adam)),
    generators=dict(type='OptimWrapper', optimizer=dict(lr=1e-4, **adam)),
)

# The schedule has its own end: where 500,000 full iterations come first, training stops before.
param_scheduler = dict(
    type='LinearDecayLR', by_epoch=False, constant=600 / 1201, end=600_500, interval=500
)
