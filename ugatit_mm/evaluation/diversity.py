"""How much the styles of a picture differ."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmagic.registry import METRICS
from mmengine.device import get_device
from mmengine.logging import MMLogger
from torch import nn

from ..converters.files import read_checkpoint
from ..domains import DOMAINS, other
from ..messages import check_counts
from ..models.base.unpaired import fake_key
from ..pixels import displayed, normalise, to_picture
from ..provenance import sha256
from ..published import cache_folder, check_sha256, find_weights
from .measurements import Measurement, table
from .trans_metric import TransMetric

DIVERSITY = 'lpips_diversity'
STYLES = 20
# AlexNet of ImageNet as torchvision publishes it; the second is the same in torch's older format.
ALEXNET_SHA256 = ('7be5be79', '4df8aa71')  # first digits
ALEXNET_FILES = tuple(f'alexnet-owt-{digits}.pth' for digits in ALEXNET_SHA256)
ALEXNET_URL = f'https://download.pytorch.org/models/{ALEXNET_FILES[0]}'


@METRICS.register_module()
class StyleDiversity(TransMetric):
    """Mean LPIPS distance between translations of a picture in two styles, over all pictures.

    LPIPS 0.1 on AlexNet (Zhang et al., CVPR 2018), by its package. The pairs of a picture are its
    styles k and k + 1: with 20 styles 19 pairs, as many as MUNIT's paper takes of each of 100
    pictures (section 5.2). A test makes that many styles with ``tools/test.py --diversity``. For
    a direction ``A2B`` the metric is ``A2B/lpips_diversity``; :attr:`measurements` has it with its
    standard error over the pictures.

    Args:
        weights: File of AlexNet's weights, one of :data:`ALEXNET_FILES`; looked for in
            ``torch.hub.get_dir()/checkpoints`` if not given. Nothing is downloaded; the linear
            heads come with the package ``lpips``.
        styles: Styles of each picture.
        collect_device: As in MMEngine.
        prefix: As in MMEngine.

    Raises:
        WeightsError: There is no such file, or it is another one.
        ValueError: Fewer than 2 styles have no pair.
    """

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        styles: int = STYLES,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        check_counts(pairs=styles - 1)
        self.styles = styles
        self.device = get_device()
        self.distance, self.weights = load_lpips(weights)
        self.distance.to(self.device)
        self.measurements: list[Measurement] = []
        self._sizes: set[str] = set()

    def check_channels(self, channels: int) -> None:
        """Accept grey and RGB pictures only.

        Raises:
            ValueError: They have another number of channels.
        """
        super().check_channels(channels)
        if channels not in (1, 3):
            raise ValueError(
                f'LPIPS knows grey and RGB pictures, these have {channels} channels: leave '
                'StyleDiversity (--diversity) out'
            )

    def names(self, has_target: bool) -> list[str]:
        """Name of the only metric."""
        return [DIVERSITY]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure the translations of each source, which come in all styles."""
        if not self.results:  # a new evaluation: the files may come again
            self._seen.clear()
        for sample in data_samples:
            result: dict[str, dict] = {}
            for domain in DOMAINS:
                target = other(domain)
                if fake_key(target, 1) not in sample:  # a model may have one direction only
                    continue
                if (row := self.new_row(sample, domain)) is None:
                    continue
                keys = [fake_key(target, k) for k in range(1, self.styles + 1)]
                if missing := [key for key in keys if key not in sample]:
                    raise ValueError(f'there is no {missing[0]}: run ugatit test --diversity')
                (distance,) = self.measure([to_picture(sample[key]) for key in keys])
                result[domain] = row | {'real': None, 'fake': distance}
            self.results.append(result)

    @torch.no_grad()
    def measure(self, images: list[np.ndarray]) -> list[float]:
        """Mean distance of the pairs of one picture, whose styles are given in their order."""
        height, width = images[0].shape[:2]
        self._sizes.add(f'{width}x{height}')
        pixels = torch.from_numpy(np.stack([displayed(image) for image in images]))
        pixels = normalise(pixels.to(self.device).permute(0, 3, 1, 2).float())
        return [float(self.distance(pixels[:-1], pixels[1:]).mean())]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the measurements of both directions, and log their table."""
        self.measurements = []
        computed = super().compute_metrics(results)
        MMLogger.get_current_instance().info('\n' + table(self.measurements))
        return computed

    def summarise(
        self, direction: str, real: list[None], fake: list[float], target: list[None]
    ) -> dict[str, float]:
        """Average over the pictures of one direction."""
        value, count = float(np.mean(fake)), len(fake)
        measurement = Measurement(
            direction=direction,
            protocol=DIVERSITY,
            value=value,
            spread=float(np.std(fake, ddof=1) / np.sqrt(count)) if count > 1 else None,
            spread_kind='standard error over the pictures' if count > 1 else '',
            settings=f'{self.styles - 1} pairs of each picture, of {self.styles} styles',
            images={'source': count},
            features='LPIPS 0.1, AlexNet',
            weights=self.weights,
            resize=f'pipeline to {", ".join(sorted(self._sizes))}',
        )
        self.measurements.append(measurement)
        return {DIVERSITY: value}


def load_lpips(weights: str | os.PathLike | None = None) -> tuple[nn.Module, str]:
    """Build LPIPS 0.1 on AlexNet with weights from a file.

    Args:
        weights: See :class:`StyleDiversity`.

    Returns:
        A module that returns the distances (N, 1, 1, 1) of images in [-1, 1], (N, 3, H, W), and the
        file's name with the first digits of its SHA-256.

    Raises:
        WeightsError: See :class:`StyleDiversity`.
    """
    about = (
        f'Download {ALEXNET_URL} (244 MB) into {cache_folder()}, or give the file by '
        '--lpips-weights FILE (in a config weights=FILE of StyleDiversity)'
    )
    file = find_weights('AlexNet', weights, ALEXNET_FILES, about)
    digest = sha256(file)
    wanted = next(filter(digest.startswith, ALEXNET_SHA256), ALEXNET_SHA256[0])
    check_sha256(file, wanted, f', so this is not the AlexNet of LPIPS. {about}', digest)
    state = read_checkpoint(file)
    import lpips  # imports torchvision

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter('ignore')  # its arguments for torchvision are deprecated
        distance = lpips.LPIPS(net='alex', pnet_rand=True, verbose=False)
    distance.net.load_state_dict({name: state[_place(name)] for name in distance.net.state_dict()})
    return distance.requires_grad_(False).eval(), f'{file.name}, SHA-256 {digest[:8]}'


def _place(name: str) -> str:
    """Torchvision's name of a weight of LPIPS's AlexNet, such as ``slice2.3.bias``."""
    return f'features.{name.partition(".")[2]}'
