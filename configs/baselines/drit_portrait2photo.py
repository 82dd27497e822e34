# The same training as photo2portrait; only the default direction differs.
_base_ = 'drit_photo2portrait.py'
model = dict(default_domain='A')
