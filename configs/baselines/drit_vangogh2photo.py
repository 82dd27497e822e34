# The same training as photo2vangogh; only the default direction differs.
_base_ = 'drit_photo2vangogh.py'
model = dict(default_domain='A')
