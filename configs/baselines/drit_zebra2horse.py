# The same training as horse2zebra; only the default direction differs.
_base_ = 'drit_horse2zebra.py'
model = dict(default_domain='A')
