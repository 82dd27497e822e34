# CycleGAN with its authors' settings. A config adds the data: names of the domains, root, epoch.
_base_ = [
    'models/cyclegan.py',
    'datasets/unpaired_256_bicubic.py',
    'schedules/cyclegan_200e.py',
    'default_runtime.py',
]
