"""Random crop and flip of ready images, a whole batch at once, on whichever device it is.

`crop` puts a margin of black around an image, an eighth of its side wide, and cuts one of its own size out at random; `flip`
mirrors every second image on average. With 32 pixels a side that is RandomCrop(32, padding=4) and RandomHorizontalFlip() of
torchvision, as CIFAR is usually trained with (He et al. 2015, https://arxiv.org/abs/1512.03385). Sides are those of the model's
input, after the processor has resized.

Black is what the processor makes of black pixels, (0 - mean) / std where it normalises, because a margin of zeros would be of the
mean colour.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from greenray.tasks.base import TrainingBatch

if TYPE_CHECKING:
    from torch import Tensor

    from greenray.config.refs import Augmentation

MARGIN_SHARE = 1 / 8
_OWN_NUMBERS = 0x5EED_C0DE  # against the cell's seed, whose first numbers are the order of the samples


class Augment:
    """The augmentation of one training; its random numbers are drawn on the host, so that they are the same on every device.

    `black`: value of a black pixel by channel, shape (channels,), on the device.
    """

    def __init__(self, kinds: "Sequence[Augmentation]", *, seed: int, device: str, black: "Tensor") -> None:
        import torch

        self._kinds = tuple(kinds)
        self._device = device
        self._black = black
        self._numbers = torch.Generator().manual_seed(seed ^ _OWN_NUMBERS)

    def epoch(self, batches: Iterator[TrainingBatch], *, shape: Sequence[int]) -> Iterator[TrainingBatch]:
        """The batches of an epoch, augmented; `shape` is (batches, samples)."""
        import torch

        # Drawn and copied once an epoch: a copy in every step would hold up the device.
        drawn = {kind: torch.rand((3, *shape), generator=self._numbers).to(self._device) for kind in self._kinds}
        for number, batch in enumerate(batches):
            images = batch.inputs["pixel_values"]
            for kind, uniform in drawn.items():
                images = crop(images, uniform[:2, number], self._black) if kind == "crop" else flip(images, uniform[2, number])
            yield batch._replace(inputs={**batch.inputs, "pixel_values": images})


def crop(images: "Tensor", uniform: "Tensor", black: "Tensor") -> "Tensor":
    """Images (N, C, H, W) shifted by up to the margin, what comes in from outside black; `uniform` is (2, N) of 0-1."""
    import torch

    many, channels, height, width = images.shape
    down, right = round(height * MARGIN_SHARE), round(width * MARGIN_SHARE)
    padded = black.to(images.dtype).view(1, -1, 1, 1).repeat(many, 1, height + 2 * down, width + 2 * right)
    padded[:, :, down : down + height, right : right + width] = images
    rows, columns = (
        (share[:, None] * (2 * margin + 1)).long().clamp_(max=2 * margin) + torch.arange(side, device=images.device)
        for share, margin, side in ((uniform[0], down, height), (uniform[1], right, width))
    )
    sample = torch.arange(many, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def flip(images: "Tensor", uniform: "Tensor") -> "Tensor":
    """Images (N, C, H, W), those mirrored for which `uniform`, shape (N,) of 0-1, is under a half."""
    import torch

    return torch.where((uniform < 0.5).view(-1, 1, 1, 1), images.flip(-1), images)
