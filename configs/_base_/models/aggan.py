# AGGAN as its authors' TensorFlow program has it, with the settings of its horse2zebra.
model = dict(
    type='AGGAN',
    domains=dict(A='A', B='B'),
    default_domain='B',
    img_size=256,
    data_preprocessor=dict(type='TranslationPreprocessor'),
    generator=dict(type='AGGANGenerator', in_channels=3, base_channels=32, num_blocks=9),
    attention=dict(
        type='AGGANAttention',
        in_channels=3,
        base_channels=32,
        decoder_kernels=(1, 1, 1),  # the program intends 3, 3, 7, but builds these
    ),
    discriminator=dict(type='AGGANDiscriminator', in_channels=3, base_channels=64),
    pool_size=50,  # earlier translations of a domain, with masks, for its discriminator
    switch_iters=30_000,  # then discriminators see foreground, attention is frozen: 30 epochs
    threshold=0.1,
    loss_config=dict(gan=1.0, cycle=10.0),
)
