# 200 epochs at batch size 1: Adam, betas (0.5, 0.999), no weight decay, learning rate 2e-4. Epoch e
# has min(1, (201 - e) / 101) of it, like the authors' PyTorch program of 2019.
#
# An epoch is max(|A|, |B|) iterations, which a data set's base gives as epoch_iters. Without one it
# is 1,000: set train_cfg.max_iters to 200 epochs, and param_scheduler.interval to one.
train_cfg = dict(type='UGATITTrainLoop', max_iters=200_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optimizer = dict(type='Adam', lr=2e-4, betas=(0.5, 0.999), fused=True)
optim_wrapper = dict(
    constructor='UGATITOptimWrapperConstructor',
    generators=dict(type='OptimWrapper', optimizer=optimizer),
    discriminators=dict(type='OptimWrapper', optimizer=optimizer),
)

# Follows train_cfg.max_iters. 0.495 of 200 epochs are the first 99, and the decay ends after 201.
param_scheduler = dict(type='LinearDecayLR', by_epoch=False, constant=0.495, interval=1_000)
