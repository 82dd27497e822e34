# CycleGAN as its authors' PyTorch program has it: 9 blocks for 256 px, 70 x 70 patches.
model = dict(
    type='UnpairedCycleGAN',
    domains=dict(A='A', B='B'),
    default_domain='B',
    img_size=256,
    data_preprocessor=dict(type='TranslationPreprocessor'),
    generator=dict(
        type='CycleGANGenerator',
        in_channels=3,
        out_channels=3,
        base_channels=64,
        num_blocks=9,
    ),
    discriminator=dict(
        type='CycleGANDiscriminator',
        in_channels=3,
        base_channels=64,
        num_layers=3,
    ),
    pool_size=50,  # earlier translations of a domain, also for its discriminator
    # The program's lambda_identity of 0.5 multiplies the cycle's 10. Its Torch version has 0.
    loss_config=dict(gan=1.0, cycle=10.0, identity=5.0),
)
