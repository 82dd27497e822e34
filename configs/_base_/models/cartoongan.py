# CartoonGAN as znxlwm's PyTorch program has it, by a co-author of U-GAT-IT. Which program made the
# row of U-GAT-IT's Table 3 is not known.
#
# The first author's own training program has: generator.num_blocks=16, padding='reflect',
# affine=True (of both networks), adversarial='lsgan', and vgg.input='caffe' with Caffe's weights.
model = dict(
    type='CartoonGAN',
    domains=dict(A='A', B='B'),
    default_domain='B',  # the only direction
    img_size=256,
    data_preprocessor=dict(type='TranslationPreprocessor'),
    generator=dict(
        type='CartoonGANGenerator',
        in_channels=3,
        out_channels=3,
        base_channels=64,
        num_blocks=8,
        padding='zeros',
        affine=False,
    ),
    discriminator=dict(
        type='CartoonGANDiscriminator',
        in_channels=3,
        base_channels=32,
        affine=False,
    ),
    # Training needs vgg19-dcbb9e9d.pth in torch's cache, or weights=FILE: docs/weights.md.
    vgg=dict(type='VGG19Features', layer='conv4_4', input='unit', weights=None),
    adversarial='bce',
    loss_config=dict(gan=1.0, content=10.0),  # the weight depends on the scale of vgg.input
)
