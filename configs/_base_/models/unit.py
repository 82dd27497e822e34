# UNIT as its authors' program of 2018 has it for 256 px.
model = dict(
    type='UNIT',
    domains=dict(A='A', B='B'),
    default_domain='B',
    img_size=256,
    data_preprocessor=dict(type='TranslationPreprocessor'),
    encoder=dict(type='MUNITEncoder', in_channels=3, base_channels=64, num_blocks=4),
    generator=dict(type='UNITDecoder', out_channels=3, base_channels=64, num_blocks=4),
    discriminator=dict(
        type='MUNITDiscriminator',
        in_channels=3,
        base_channels=64,
        num_layers=4,
        num_scales=3,
    ),
    gan_type='lsgan',
    # perceptual needs vgg_weights=FILE.
    loss_config=dict(gan=1.0, recon_x=10.0, kl=0.01, cycle=10.0, kl_cycle=0.01, perceptual=0.0),
)
