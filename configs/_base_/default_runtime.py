default_scope = 'mmagic'
runner_type = 'UGATITRunner'
custom_imports = dict(imports=['ugatit_mm'], allow_failed_imports=False)

default_hooks = dict(
    # MMEngine's timer and log processor: MMagic's of the same names omit the remaining time.
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='UGATITCheckpointHook',
        interval=10_000,
        by_epoch=False,
        max_keep_ckpts=5,
        save_last=True,
        on_error='continue',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Hooks of this project. Each has a name, so a config or an option changes one field of it
    # (default_hooks.sheets.interval=250) or switches it off (default_hooks.watch=None).
    ema=dict(type='TranslationEMAHook', momentum=None),  # 0.002, for example, averages the weights
    sheets=dict(type='TranslationSheetHook', interval=1000, num_images=4),
    interrupt=dict(type='InterruptHook'),
    provenance=dict(type='ProvenanceHook'),
    bad_pictures=dict(type='BadPicturesHook', interval=100),  # for dataset.on_error='skip'
    finite=dict(type='FiniteHook', patience=10),
    watch=dict(type='WatchHook', interval=500),
    console=dict(type='ConsoleHook'),  # None: all of MMEngine's lines on the terminal
)
custom_hooks = []  # your own

# KID and FID: `ugatit test --kid`, or dict(type='TransKID') here. Shares of ImageNet's classes:
# `--class NAME`, or dict(type='ClassShare', classes=['daisy']).
val_evaluator = [dict(type='TransStats')]
test_evaluator = val_evaluator

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='mmengine.Visualizer', vis_backends=vis_backends)
log_processor = dict(type='mmengine.LogProcessor', window_size=100, by_epoch=False)
log_level = 'INFO'

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Seconds that a rank waits for the others, also while the first one writes a checkpoint.
    dist_cfg=dict(backend='nccl', timeout=1800),
)
# Each of the two network pairs has its own wrapper, and one forward pass in a step.
model_wrapper_cfg = dict(
    type='MMSeparateDistributedDataParallel',
    find_unused_parameters=False,
    gradient_as_bucket_view=True,  # no second copy of the gradients
)
randomness = dict(seed=None, diff_rank_seed=False, deterministic=False)
load_from = None
resume = False
