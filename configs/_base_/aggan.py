# AGGAN with its authors' settings of horse2zebra. A config adds the data: names of the domains,
# root, epoch.
#
# The authors' program differs: it pairs the same pictures in every epoch, gives both the same flip
# and crop, resizes without antialiasing, and tests on random crops of 286 px in JPEG. Here pictures
# are drawn and augmented independently, resized by Pillow's bilinear, and tested whole at 256 px.
# For the program's pairs: train_dataloader.sampler.shuffle=False; for its flips and crops:
# train_dataloader.dataset.shared_augmentation=True.
_base_ = [
    'models/aggan.py',
    'datasets/unpaired_256.py',
    'schedules/aggan_100e.py',
    'default_runtime.py',
]
# A step runs its networks several times and makes four updates: it averages gradients itself.
model_wrapper_cfg = dict(_delete_=True, type='AveragedParallel')
