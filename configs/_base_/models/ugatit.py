# The only full model dict. Fields that are not here come from the recipe (README, "The recipes"):
# `--cfg-options model.recipe=pytorch` switches all of them; a field that is set wins.
model = dict(
    type='UGATIT',
    recipe='tensorflow',
    domains=dict(A='A', B='B'),
    default_domain='B',
    data_preprocessor=dict(type='TranslationPreprocessor'),
    generator=dict(
        type='UGATITGenerator',
        in_channels=3,
        out_channels=3,
        base_channels=64,
        num_blocks=4,
        img_size=256,
        light=False,
        norm='adalin',
        cam=True,
    ),
    discriminator=dict(
        type='UGATITDiscriminator',
        in_channels=3,
        base_channels=64,
        num_layers=(7, 5),  # global, local
        cam=True,
    ),
    cam_loss=dict(type='CAMLoss'),
    loss_config=dict(gan=1.0, cycle=10.0, identity=10.0, cam=1000.0),
)
