# MUNIT as its authors' program has it for 256 px.
model = dict(
    type='MUNIT',
    domains=dict(A='A', B='B'),
    default_domain='B',
    img_size=256,
    data_preprocessor=dict(type='TranslationPreprocessor'),
    encoder=dict(type='MUNITEncoder', in_channels=3, base_channels=64, num_blocks=4),
    style_encoder=dict(type='MUNITStyleEncoder', in_channels=3, base_channels=64, style_dim=8),
    generator=dict(
        type='MUNITDecoder',
        out_channels=3,
        base_channels=64,
        num_blocks=4,
        style_dim=8,
        mlp_channels=256,
    ),
    discriminator=dict(
        type='MUNITDiscriminator',
        in_channels=3,
        base_channels=64,
        num_layers=4,
        num_scales=3,
    ),
    gan_type='lsgan',
    # cycle: 0 is the program's default and what its authors used for animals; 10 where both domains
    # have the same shapes. perceptual needs vgg_weights=FILE.
    loss_config=dict(gan=1.0, recon_x=10.0, recon_s=1.0, recon_c=1.0, cycle=0.0, perceptual=0.0),
)
