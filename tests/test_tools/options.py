"""Options that make a config tiny: seconds on one core."""

TINY = {
    'img_size': 32,
    'load_size': 36,
    'model.generator.light': True,
    'model.generator.base_channels': 4,
    'model.generator.num_blocks': 1,
    'model.discriminator.base_channels': 4,
    'model.discriminator.num_layers': (5, 4),
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'train_cfg.max_iters': 4,
    'train_cfg.val_interval': 2,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': 2,
    'custom_hooks.0.interval': 2,
    'randomness.seed': 0,
}


def as_arguments(options: dict) -> list[str]:
    """The options as words behind ``--cfg-options``."""
    return [f'{key}={value}'.replace(' ', '') for key, value in options.items()]
