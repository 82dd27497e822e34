"""The five data sets of the paper: where they are, how they are packed, what the paper says.

The paper's numbers of images are in ``configs/_base_/datasets``, ``paper_images``. The
addresses are those that the data sets' makers gave; none of them could be tried when this was
written.
"""

from __future__ import annotations

from dataclasses import dataclass

_DRIVE = '1xOWj1UVgp6NKMT3HbPhBbtq2A4EDkghF'
_CYCLEGAN = (
    'https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}.zip',
    'https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/{}.zip',
)
_DRIT = ('http://vllab.ucmerced.edu/hylee/DRIT/datasets/{}.zip',)


@dataclass(frozen=True)
class PaperSet:
    """What is known about a data set.

    Args:
        name: The direction A to B, as in ``configs/_base_/datasets/NAME.py``.
        archive: Name of the published archive.
        urls: Its addresses, tried in this order.
        by_hand: What to do where they fail.
        random_test: Whether test images are drawn from all images; otherwise the split of the
            archive is kept.
        swapped: Whether trainA is domain B if the source's name does not say; None: the user must.
        test_from_train: Domains whose training images are the test images too.
        remark: What a reader of the paper's numbers should know; {trainA} and so on stand for them.
    """

    name: str
    archive: str
    urls: tuple[str, ...]
    by_hand: str
    random_test: bool = False
    swapped: bool | None = False
    test_from_train: str = ''
    remark: str = ''

    @property
    def domains(self) -> tuple[str, str]:
        a, b = self.name.split('2')
        return a, b

    @property
    def reverse(self) -> str:
        a, b = self.domains
        return f'{b}2{a}'


def _published(archive: str, urls: tuple[str, ...], page: str) -> dict:
    return {
        'archive': f'{archive}.zip',
        'urls': tuple(url.format(archive) for url in urls),
        'by_hand': f'look for {archive}.zip on {page}',
    }


_CYCLEGAN_PAGE = "CycleGAN's page (github.com/junyanz/pytorch-CycleGAN-and-pix2pix)"
_DRIT_PAGE = "DRIT's page (github.com/HsinYingLee/DRIT)"
_DRIT_REMARK = (
    'The paper contradicts itself: its {trainA} + {trainB} training images are all that DRIT has, '
    'which leaves none to test on; its {testA} + {testB} test images repeat '
)

PAPER_SETS = {
    paper_set.name: paper_set
    for paper_set in (
        PaperSet(
            name='selfie2anime',
            archive='selfie2anime.zip',
            urls=(f'https://drive.usercontent.google.com/download?id={_DRIVE}&confirm=t',),
            by_hand=f'open https://drive.google.com/file/d/{_DRIVE}/view in a browser (Google '
            'Drive may ask to confirm, or refuse for a day after many downloads), or take '
            'arnaud58/selfie2anime from Kaggle',
        ),
        PaperSet(
            name='horse2zebra',
            **_published('horse2zebra', _CYCLEGAN, _CYCLEGAN_PAGE),
            remark="CycleGAN's own page counts 939 + 1177 training images; others who counted "
            "found the paper's {trainA} + {trainB} in its archive.",
        ),
        PaperSet(
            name='cat2dog',
            **_published('cat2dog', _DRIT, _DRIT_PAGE),
            random_test=True,
            remark=_DRIT_REMARK + "horse2zebra's figures. Other papers train on 771 + 1264 and "
            'test on 100 + 100.',
        ),
        PaperSet(
            name='photo2portrait',
            **_published('portrait', _DRIT, _DRIT_PAGE),
            random_test=True,
            swapped=None,
            remark=_DRIT_REMARK + "photo2vangogh's figures. Its split was never published.",
        ),
        PaperSet(
            name='photo2vangogh',
            **_published('vangogh2photo', _CYCLEGAN, _CYCLEGAN_PAGE),
            swapped=None,
            test_from_train='B',
            remark='The {trainB} van Goghs of training are the {testB} test images too, in the '
            'archive as in the paper: what is measured on them, a model has seen.',
        ),
    )
}
"""By the direction A to B."""


def find_paper_set(name: str) -> PaperSet:
    """The data set of a direction; the reverse one has the same data.

    Raises:
        ValueError: Unknown; the message lists all ten.
    """
    for paper_set in PAPER_SETS.values():
        if name in (paper_set.name, paper_set.reverse):
            return paper_set
    known = ', '.join(f'{each.name}, {each.reverse}' for each in PAPER_SETS.values())
    raise ValueError(f"unknown data set '{name}'; the paper's are {known}")
