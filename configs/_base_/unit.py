# UNIT with its authors' settings. A config adds the data: names of the domains, root.
_base_ = [
    'models/unit.py',
    'datasets/unpaired_256_kept.py',
    'schedules/munit_1m.py',
    'default_runtime.py',
]
# Parts run several times in a step.
model_wrapper_cfg = dict(_delete_=True, type='AveragedParallel')
