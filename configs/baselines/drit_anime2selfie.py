# The same training as selfie2anime; only the default direction differs.
_base_ = 'drit_selfie2anime.py'
model = dict(default_domain='A')
