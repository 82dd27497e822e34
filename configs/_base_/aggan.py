# AGGAN with its authors' settings of horse2zebra. A config adds the data: names of the domains,
# root, epoch.
#
# What is not as in the authors' program, which pairs the same pictures in every epoch, gives both
# the same flip and crop, resizes without antialias, and tests on random crops of 286 px in JPEG:
# here pictures are drawn and augmented apart, resized by Pillow's bilinear, and tested whole at 256
# px. For the program's pairs: train_dataloader.sampler.shuffle=False; for its flips and crops:
# train_dataloader.dataset.shared_augmentation=True.
_base_ = [
    'models/aggan.py',
    'datasets/unpaired_256.py',
    'schedules/aggan_100e.py',
    'default_runtime.py',
]
# A step runs its networks several times, and updates four times: it averages gradients by itself.
model_wrapper_cfg = dict(_delete_=True, type='AveragedParallel')
