# Ten epochs that train only the generator, then a hundred of both networks: Adam, betas
# (0.5, 0.999), learning rate 2e-4, a tenth of it after 50 of the hundred, a hundredth after 75. The
# generator has one Adam for both.
#
# An epoch is min(|A|, |B|) / 8 iterations, which a data set's config sets; here it is 100. To
# change it, set train_cfg.max_iters to 110 epochs, param_scheduler.milestones to 60 and 85 and
# model.init_iters to 10.
train_cfg = dict(type='UGATITTrainLoop', max_iters=11_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optimizer = dict(type='Adam', lr=2e-4, betas=(0.5, 0.999), fused=True)
optim_wrapper = dict(
    constructor='UGATITOptimWrapperConstructor',
    discriminators=dict(type='OptimWrapper', optimizer=optimizer),
    generators=dict(type='OptimWrapper', optimizer=optimizer),
)

param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[6_000, 8_500], gamma=0.1)
