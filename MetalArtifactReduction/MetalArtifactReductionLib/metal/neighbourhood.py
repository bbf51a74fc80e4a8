"""Neighbourhoods of metal in batches of images: worked out only where the metal is."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def metal_window(metal: torch.Tensor, margin: tuple[int, int]) -> tuple[slice, slice, slice] | None:
    """Rows and columns that hold all metal of the batch, with a margin; None without metal.

    :param metal: bool ``(slices, rows, cols)``.
    :param margin: pixels ``(rows, cols)`` added on each side, cut at the image's border.
    """
    flat = metal.any(dim=0)
    rows, cols = (torch.nonzero(flat.any(dim=axis)).flatten() for axis in (1, 0))
    if rows.numel() == 0:
        return None
    (top, bottom), (left, right) = ((int(x[0]), int(x[-1]) + 1) for x in (rows, cols))
    return (
        slice(None),
        slice(max(0, top - margin[0]), bottom + margin[0]),
        slice(max(0, left - margin[1]), right + margin[1]),
    )


def largest_around(values: torch.Tensor, radius: tuple[int, int]) -> torch.Tensor:
    """Largest value in a box of ``2 radius + 1`` pixels, ``(slices, rows, cols)``."""
    out = values[:, None]
    for axis, r in enumerate(radius):
        kernel = (2 * r + 1, 1) if axis == 0 else (1, 2 * r + 1)
        out = F.max_pool2d(out, kernel, stride=1, padding=(kernel[0] // 2, kernel[1] // 2))
    return out[:, 0]


def widened(metal: torch.Tensor, radius: tuple[int, int]) -> torch.Tensor:
    """The mask dilated by a box of ``2 radius + 1`` pixels; bool, same shape."""
    window = metal_window(metal, radius)
    if window is None:
        return metal.clone()
    part = metal[window]
    for axis, r in zip((1, 2), radius, strict=True):
        pad = (0, 0, r, r) if axis == 1 else (r, r, 0, 0)
        part, width = F.pad(part, pad), 1
        while width < 2 * r + 1:  # a fraction of the time of a maximum: each turn doubles
            step, length = min(width, 2 * r + 1 - width), part.shape[axis]
            part = part.narrow(axis, 0, length - step) | part.narrow(axis, step, length - step)
            width += step
    out = torch.zeros_like(metal)
    out[window] = part
    return out


def inside(metal: torch.Tensor) -> torch.Tensor:
    """Pixels whose eight neighbours are metal, too; the image's border counts as metal."""
    window = metal_window(metal, (1, 1))
    if window is None:
        return metal.clone()
    out = torch.zeros_like(metal)
    out[window] = metal[window] & ~(largest_around((~metal[window]).float(), (1, 1)) > 0)
    return out
