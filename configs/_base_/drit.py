# DRIT with its authors' settings. A config adds the data: names of the domains, root, epoch.
_base_ = [
    'models/drit.py',
    'datasets/unpaired_256_crop_216.py',
    'schedules/drit_1200e.py',
    'default_runtime.py',
]
train_dataloader = dict(batch_size=2)  # one picture to translate, one used only as real
# Parts run several times in a step, and one graph has two backward passes.
model_wrapper_cfg = dict(_delete_=True, type='AveragedParallel')
