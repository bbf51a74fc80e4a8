"""The image prior: a residual U-Net that proposes a slice free of metal artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F

FEATURES = (64, 128, 192, 256)
BLOCKS = (2, 2, 2, 2)

_RESIDUAL_SCALE = 0.2
_LEAST_LOG_SCALE, _LARGEST_LOG_SCALE = -7.0, 1.0


class _Block(torch.nn.Module):
    """Residual block without normalisation (Lim et al., EDSR, CVPR workshops 2017).

    Normalisation would make a pixel depend on how much air is in the image.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(features, features, 3, padding=1)
        self.second = torch.nn.Conv2d(features, features, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.second(F.silu(self.first(x)))
        return x + change


class ImagePrior(torch.nn.Module):
    """From what is known of a slice to the slice without artifacts, and how sure that is.

    Four pixels are taken together (space to depth), so that most of the work is done at half the
    resolution; the last layer gives each of the four its own value. The proposal is a mixture of
    the uncorrected image and of NMAR's, chosen pixel by pixel, plus a correction.

    :param in_channels: of the input, see :mod:`.channels`.
    :param features: channels at 1/2, 1/4, 1/8, ... of the resolution.
    :param blocks: residual blocks a level, on the way down and on the way up.
    :raises ValueError: lists of different lengths.
    """

    def __init__(
        self,
        in_channels: int = 9,
        features: Sequence[int] = FEATURES,
        blocks: Sequence[int] = BLOCKS,
    ) -> None:
        super().__init__()
        if len(features) != len(blocks) or len(features) < 2 or min(features) < 1:
            raise ValueError(f"features {list(features)} and blocks {list(blocks)} do not fit")
        conv = torch.nn.Conv2d
        self.stride = 2 ** len(features)
        self.head = conv(4 * in_channels, features[0], 3, padding=1)
        self.down, self.down_to = torch.nn.ModuleList(), torch.nn.ModuleList()
        self.up, self.up_to = torch.nn.ModuleList(), torch.nn.ModuleList()
        for level, (width, wider) in enumerate(pairwise(features)):
            self.down.append(torch.nn.Sequential(*(_Block(width) for _ in range(blocks[level]))))
            self.down_to.append(conv(width, wider, 2, stride=2))
            self.up_to.append(torch.nn.ConvTranspose2d(wider, width, 2, stride=2))
            self.up.append(torch.nn.Sequential(*(_Block(width) for _ in range(blocks[level]))))
        self.bottom = torch.nn.Sequential(*(_Block(features[-1]) for _ in range(blocks[-1])))
        self.tail = conv(features[0], 12, 3, padding=1)
        torch.nn.init.zeros_(self.tail.weight)
        torch.nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, channels: torch.Tensor, corrupted: torch.Tensor, nmar: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The proposed slices and the logarithm of their error's scale.

        :param channels: ``(slices, in_channels, rows, cols)``.
        :param corrupted: HU / 1000, ``(slices, rows, cols)``.
        :param nmar: same.
        :returns: HU / 1000, and log of the expected absolute error in HU / 1000; float32,
            ``(slices, rows, cols)`` both.
        """
        rows, cols = channels.shape[-2:]
        pad = (0, -cols % self.stride, 0, -rows % self.stride)
        x = F.pad(channels, pad, mode="replicate") if any(pad) else channels
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        x = self.head(x)
        kept = []
        for blocks, step in zip(self.down, self.down_to, strict=True):
            x = blocks(x)
            kept.append(x)
            x = step(x)
        x = self.bottom(x)
        for blocks, step in zip(reversed(self.up), reversed(self.up_to), strict=True):
            x = blocks(step(x) + kept.pop())
        out = F.pixel_shuffle(self.tail(x), 2).float()[..., :rows, :cols]
        share, change, log_scale = out.unbind(dim=1)
        base = corrupted + torch.sigmoid(share) * (nmar - corrupted)
        proposed = base + _RESIDUAL_SCALE * change
        return proposed, (log_scale - 3.0).clamp(_LEAST_LOG_SCALE, _LARGEST_LOG_SCALE)
