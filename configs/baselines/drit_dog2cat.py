# The same training as cat2dog; only the default direction differs.
_base_ = 'drit_cat2dog.py'
model = dict(default_domain='A')
