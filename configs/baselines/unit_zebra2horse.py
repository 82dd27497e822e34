# The same training as horse2zebra; only the default direction differs.
_base_ = 'unit_horse2zebra.py'
model = dict(default_domain='A')
