# Light: the features are averaged before the MLP; 10.6M instead of 279M parameters a generator.
_base_ = '../ugatit_anime2selfie.py'
model = dict(generator=dict(light=True))
