# 100 epochs at batch size 1: Adam, betas (0.5, 0.999), no weight decay, learning rate 1e-4 for 50
# epochs, then linear to 0 in steps of an epoch. The first phase has 30 epochs (switch_iters).
#
# An epoch is max(|A|, |B|) iterations, which a data set's base gives as epoch_iters. Without one it
# is 1,000: set train_cfg.max_iters to 100 epochs, model.switch_iters to 30, and
# param_scheduler.interval to one.
train_cfg = dict(type='UGATITTrainLoop', max_iters=100_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The program has one optimiser for its four updates, and its powers of beta count all of them: here
# each is one `of` 4. With of=1 and place=1 in each they are independent Adams.
optimizer = dict(type='TFAdam', lr=1e-4, betas=(0.5, 0.999), fused=True)
optim_wrapper = dict(
    constructor='UGATITOptimWrapperConstructor',
    generator_B=dict(type='OptimWrapper', optimizer=dict(optimizer, of=4, place=1)),
    discriminator_B=dict(type='OptimWrapper', optimizer=dict(optimizer, of=4, place=2)),
    generator_A=dict(type='OptimWrapper', optimizer=dict(optimizer, of=4, place=3)),
    discriminator_A=dict(type='OptimWrapper', optimizer=dict(optimizer, of=4, place=4)),
)

# Follows train_cfg.max_iters.
param_scheduler = dict(type='LinearDecayLR', by_epoch=False, constant=0.5, interval=1_000)
