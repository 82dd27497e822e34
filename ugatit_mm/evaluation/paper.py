"""The paper's tables (ICLR 2020, arXiv 1907.10830).

Tables 1 and 3 are KID times 100 and its spread. The paper does not say which KID; most likely it
is the mean with the source (:func:`ugatit_mm.evaluation.kid.mean_with_source`): docs/evaluation.md.
"""

# model: direction: (KID x 100, spread x 100)
TABLE_3 = {
    'U-GAT-IT': {
        'selfie2anime': (11.61, 0.57),
        'horse2zebra': (7.06, 0.8),
        'cat2dog': (7.07, 0.65),
        'photo2portrait': (1.79, 0.34),
        'photo2vangogh': (4.28, 0.33),
        'anime2selfie': (11.52, 0.57),
        'zebra2horse': (7.47, 0.71),
        'dog2cat': (8.15, 0.66),
        'portrait2photo': (1.69, 0.53),
        'vangogh2photo': (5.61, 0.32),
    },
    'CycleGAN': {
        'selfie2anime': (13.08, 0.49),
        'horse2zebra': (8.05, 0.72),
        'cat2dog': (8.92, 0.69),
        'photo2portrait': (1.84, 0.34),
        'photo2vangogh': (5.46, 0.33),
        'anime2selfie': (11.84, 0.74),
        'zebra2horse': (8.0, 0.66),
        'dog2cat': (9.94, 0.36),
        'portrait2photo': (1.82, 0.36),
        'vangogh2photo': (4.68, 0.36),
    },
    'UNIT': {
        'selfie2anime': (14.71, 0.59),
        'horse2zebra': (10.44, 0.67),
        'cat2dog': (8.15, 0.48),
        'photo2portrait': (1.20, 0.31),
        'photo2vangogh': (4.26, 0.29),
        'anime2selfie': (26.32, 0.92),
        'zebra2horse': (14.93, 0.75),
        'dog2cat': (9.81, 0.34),
        'portrait2photo': (1.42, 0.24),
        'vangogh2photo': (9.72, 0.33),
    },
    'MUNIT': {
        'selfie2anime': (13.85, 0.41),
        'horse2zebra': (11.41, 0.83),
        'cat2dog': (10.13, 0.27),
        'photo2portrait': (4.75, 0.52),
        'photo2vangogh': (13.08, 0.34),
        'anime2selfie': (13.94, 0.72),
        'zebra2horse': (16.47, 1.04),
        'dog2cat': (10.39, 0.25),
        'portrait2photo': (3.30, 0.47),
        'vangogh2photo': (9.53, 0.35),
    },
    'DRIT': {
        'selfie2anime': (15.08, 0.62),
        'horse2zebra': (9.79, 0.62),
        'cat2dog': (10.92, 0.33),
        'photo2portrait': (5.85, 0.54),
        'photo2vangogh': (12.65, 0.35),
        'anime2selfie': (14.85, 0.60),
        'zebra2horse': (10.98, 0.55),
        'dog2cat': (10.86, 0.24),
        'portrait2photo': (4.76, 0.72),
        'vangogh2photo': (7.72, 0.34),
    },
    'AGGAN': {
        'selfie2anime': (14.63, 0.55),
        'horse2zebra': (7.58, 0.71),
        'cat2dog': (9.84, 0.79),
        'photo2portrait': (2.33, 0.36),
        'photo2vangogh': (6.95, 0.33),
        'anime2selfie': (12.72, 1.03),
        'zebra2horse': (8.80, 0.66),
        'dog2cat': (9.45, 0.64),
        'portrait2photo': (2.19, 0.40),
        'vangogh2photo': (5.85, 0.31),
    },
    'CartoonGAN': {'selfie2anime': (15.85, 0.69)},
}

# The eight rows of the ablation: the word in our configs' names, the paper's name, its KID.
TABLE_1 = {
    'adalin': ('U-GAT-IT', {'selfie2anime': (11.61, 0.57), 'anime2selfie': (11.52, 0.57)}),
    'in': ('w/ IN', {'selfie2anime': (13.64, 0.76), 'anime2selfie': (13.58, 0.8)}),
    'ln': ('w/ LN', {'selfie2anime': (12.39, 0.61), 'anime2selfie': (13.17, 0.8)}),
    'adain': ('w/ AdaIN', {'selfie2anime': (12.29, 0.78), 'anime2selfie': (11.81, 0.77)}),
    'gn': ('w/ GN', {'selfie2anime': (12.76, 0.64), 'anime2selfie': (12.30, 0.77)}),
    'no_cam': ('w/o CAM', {'selfie2anime': (12.85, 0.82), 'anime2selfie': (14.06, 0.75)}),
    'no_g_cam': ('w/o G_CAM', {'selfie2anime': (12.33, 0.68), 'anime2selfie': (13.86, 0.75)}),
    'no_d_cam': ('w/o D_CAM', {'selfie2anime': (12.49, 0.74), 'anime2selfie': (13.33, 0.89)}),
}

# The user study: share of preference in %.
TABLE_2_PERSONS = 135
TABLE_2 = {
    'U-GAT-IT': {
        'selfie2anime': 73.15,
        'horse2zebra': 73.56,
        'cat2dog': 58.22,
        'photo2portrait': 30.59,
        'photo2vangogh': 48.96,
    },
    'CycleGAN': {
        'selfie2anime': 20.07,
        'horse2zebra': 23.07,
        'cat2dog': 6.19,
        'photo2portrait': 26.59,
        'photo2vangogh': 27.33,
    },
    'UNIT': {
        'selfie2anime': 1.48,
        'horse2zebra': 0.85,
        'cat2dog': 18.63,
        'photo2portrait': 32.11,
        'photo2vangogh': 11.93,
    },
    'MUNIT': {
        'selfie2anime': 3.41,
        'horse2zebra': 1.04,
        'cat2dog': 14.48,
        'photo2portrait': 8.22,
        'photo2vangogh': 2.07,
    },
    'DRIT': {
        'selfie2anime': 1.89,
        'horse2zebra': 1.48,
        'cat2dog': 2.48,
        'photo2portrait': 2.48,
        'photo2vangogh': 9.70,
    },
}

DIRECTIONS = tuple(TABLE_3['U-GAT-IT'])
