# 1,000,000 iterations at batch size 1: Adam, betas (0.5, 0.999), weight decay 1e-4 of all
# parameters, learning rate 1e-4, halved every 100,000 iterations (the authors' program, which steps
# before an update where MMEngine steps after it, halves one iteration earlier).
train_cfg = dict(type='UGATITTrainLoop', max_iters=1_000_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optimizer = dict(type='Adam', lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4, fused=True)
optim_wrapper = dict(
    constructor='UGATITOptimWrapperConstructor',
    generators=dict(type='OptimWrapper', optimizer=optimizer),
    discriminators=dict(type='OptimWrapper', optimizer=optimizer),
)

param_scheduler = dict(type='StepLR', by_epoch=False, step_size=100_000, gamma=0.5)
