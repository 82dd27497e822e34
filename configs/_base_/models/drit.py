# DRIT as its authors' program has it, with the objective of ECCV 2018.
model = dict(
    type='DRIT',
    domains=dict(A='A', B='B'),
    default_domain='B',
    img_size=256,
    data_preprocessor=dict(type='TranslationPreprocessor'),
    encoder=dict(type='DRITContentEncoder', in_channels=3, base_channels=64),
    # concat: attributes next to the features, for little change of shape. False: feature-wise.
    attribute_encoder=dict(
        type='DRITAttributeEncoder',
        in_channels=3,
        base_channels=64,
        style_dim=8,
        concat=True,
    ),
    generator=dict(
        type='DRITGenerator',
        out_channels=3,
        base_channels=64,
        style_dim=8,
        concat=True,
    ),
    discriminator=dict(
        type='DRITDiscriminator',
        in_channels=3,
        base_channels=64,
        num_scales=3,
        num_layers=4,
        kernel_size=4,
        norm='none',
        spectral_norm=False,
    ),
    content_discriminator=dict(
        type='DRITContentDiscriminator',
        base_channels=64,
        num_layers=4,  # 3 of stride 2, for crops of 212 px or more
        norm='none',
    ),
    d_iter=3,  # one of three iterations trains more than the content discriminator
    epoch_images=None,  # of the larger training set
    content_max_norm=5.0,
    second_pass='stale',
    # The code's default since April 2019, DRIT++, is mode_seeking=1.
    loss_config=dict(
        gan=1.0,
        content=1.0,
        cycle=10.0,
        recon=10.0,
        latent=10.0,
        kl=0.01,
        kl_content=0.01,
        mode_seeking=0.0,
    ),
)
