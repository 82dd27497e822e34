# U-GAT-IT with the paper's settings. A config adds the data: names of the domains, and the root.
_base_ = [
    'models/ugatit.py',
    'datasets/unpaired_256.py',
    'schedules/ugatit_1m.py',
    'default_runtime.py',
]
default_hooks = dict(rho=dict(type='RhoHook', interval=100))
