"""Pictures for reports without any drawing library: slices as PNG, curves as SVG."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..files.pictures import WINDOWS_HU, PatientView, frame_around_body
from ..files.tables import escaped
from .metrics import flat_region, noise

if TYPE_CHECKING:
    from ..correction.result import CorrectionResult
    from ..volume import CTVolume

LEAST_CHANGE_HU, LEAST_ERROR_HU = 1.0, 10.0
"""Changes and expected errors below are rounding and noise: a map's colours do not count them."""

_NOISE_SLICES = 5

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Of Okabe and Ito: told apart whatever colours a reader sees."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_bytes(pixels: np.ndarray) -> bytes:
    """An 8-bit PNG file (ISO/IEC 15948).

    :param pixels: uint8, grey ``(rows, cols)`` or colour ``(rows, cols, 3)``.
    :raises ValueError: another type or shape.
    """
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (colour or pixels.ndim == 2) or pixels.size == 0:
        raise ValueError(f"no 8-bit picture: {pixels.dtype} of shape {pixels.shape}")
    rows, cols = pixels.shape[:2]
    # Every row is preceded by the number of its filter; 0 is none.
    lines = np.zeros((rows, 1 + pixels[0].size), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(rows, -1)
    header = struct.pack(">IIBBBBB", cols, rows, 8, 2 if colour else 0, 0, 0, 0)
    return (
        _PNG_SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_uri(png: bytes) -> str:
    """The picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def grey_picture(
    slice_hu: np.ndarray, level_hu: float, width_hu: float, pixel_mm: tuple[float, float]
) -> np.ndarray:
    """A slice in a window, with square pixels; uint8 ``(rows, cols)``.

    :param pixel_mm: ``(row, col)`` size.
    """
    shown = (_square(slice_hu, pixel_mm) - (level_hu - width_hu / 2)) * (255.0 / width_hu)
    return np.clip(np.nan_to_num(shown), 0, 255).astype(np.uint8)


def write_before_after(path: Path, volume: CTVolume, result: CorrectionResult) -> None:
    """The slice with most metal, original and corrected side by side, as a grey PNG."""
    seen, turn = volume.anatomical()
    amount = turn(result.metal_fraction).sum(axis=(1, 2), dtype=np.float64)
    index = int(amount.argmax())
    view = PatientView.of(seen.ijk_to_ras)
    pair = [view(hu[index]) for hu in (seen.hu, turn(result.corrected.hu))]
    frame = frame_around_body(pair[0])
    shown = [grey_picture(one[frame], *WINDOWS_HU["soft tissue"], view.pixel_mm) for one in pair]
    gap = np.full((len(shown[0]), 4), 255, np.uint8)
    path.write_bytes(png_bytes(np.hstack([shown[0], gap, shown[1]])))


def change_picture(
    change_hu: np.ndarray,
    limit_hu: float,
    pixel_mm: tuple[float, float],
    below: np.ndarray | None = None,
) -> np.ndarray:
    """Differences in diverging colours: blue is lower, red is higher, uint8 ``(rows, cols, 3)``.

    :param limit_hu: where the colour is strongest.
    :param below: grey picture of the same slice that shows through where nothing changed.
    """
    amount = np.clip(_square(change_hu, pixel_mm) / limit_hu, -1.0, 1.0)[..., None]
    strong = np.where(amount > 0, np.array([214.0, 47.0, 39.0]), np.array([33.0, 102.0, 214.0]))
    under = np.zeros(amount.shape[:2]) if below is None else 0.6 * below
    return (np.abs(amount) * strong + (1.0 - np.abs(amount)) * under[..., None]).astype(np.uint8)


def colour_limit_hu(values_hu: np.ndarray, least_hu: float) -> float:
    """Where a map's colours end: what 99 % of the voxels beyond ``least_hu`` stay within.

    :param values_hu: changes or errors, any shape.
    :returns: rounded up to 50 HU, 50 HU at least.
    """
    values = np.abs(values_hu[np.abs(values_hu) > least_hu])
    return 50.0 * max(1.0, float(np.ceil(np.percentile(values, 99) / 50))) if values.size else 50.0


def change_limit_hu(change_hu: np.ndarray) -> float:
    """:func:`colour_limit_hu` of a map of changes; a quarter of the voxels will do."""
    return colour_limit_hu(change_hu[:, ::2, ::2], LEAST_CHANGE_HU)


def noise_level_hu(original_hu: np.ndarray) -> float:
    """Standard deviation in flat soft tissue, of a few slices.

    :param original_hu: ``(slices, rows, cols)``, HU.
    :returns: HU; 0 where there is no such tissue.
    """
    some = original_hu[:: max(1, len(original_hu) // _NOISE_SLICES)]
    return float(np.nan_to_num(noise(some, flat_region(some, some > 0))))


def shown_changes(original_hu: np.ndarray, change_hu: np.ndarray) -> dict[str, float]:
    """Where the colours of a map of changes end and begin: ``limit_hu``, ``noise_hu``."""
    return {"limit_hu": change_limit_hu(change_hu), "noise_hu": noise_level_hu(original_hu)}


def error_picture(
    error_hu: np.ndarray, limit_hu: float, pixel_mm: tuple[float, float], below: np.ndarray
) -> np.ndarray:
    """Absolute errors in orange over a grey picture, uint8 ``(rows, cols, 3)``.

    :param limit_hu: where the colour is strongest.
    :param below: grey picture of the same slice that shows through where the error is small.
    """
    amount = np.clip(_square(error_hu, pixel_mm) / limit_hu, 0.0, 1.0)[..., None]
    mixed = amount * np.array([255.0, 170.0, 0.0]) + (1.0 - amount) * (0.6 * below)[..., None]
    result: np.ndarray = mixed.astype(np.uint8)
    return result


def _square(image: np.ndarray, pixel_mm: tuple[float, float], smallest: int = 320) -> np.ndarray:
    """Resampled so that pixels are square and the longer side has enough of them to be seen."""
    size = np.array(image.shape) * pixel_mm
    pixel = min(*pixel_mm, float(size.max()) / smallest)
    zoom = np.array(pixel_mm) / pixel
    if np.allclose(zoom, 1.0, atol=1e-3):
        return image.astype(np.float32)
    resampled: np.ndarray = ndimage.zoom(
        image.astype(np.float32), zoom, order=1, grid_mode=True, mode="nearest"
    )
    return resampled


def _text(x: float | np.ndarray, y: float, text: str, anchor: str) -> str:
    place = f'x="{float(x):.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {place}>{escaped(text)}</text>"


def curves_svg(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x_title: str,
    y_title: str,
    size: tuple[int, int] = (720, 280),
) -> str:
    """Curves over one axis as an SVG element.

    :param curves: name -> (x, y); NaN breaks a curve.
    :param size: width and height in pixels.
    """
    width, height = size
    left, right, top, bottom = 62, 12, 24, 40
    x_all = np.concatenate([x for x, _ in curves.values()])
    y_all = np.concatenate([y for _, y in curves.values()])
    y_all = y_all[np.isfinite(y_all)]
    x_range = _range(x_all)
    y_ticks = _ticks(*_range(y_all))
    y_range = (min(y_ticks[0], _range(y_all)[0]), max(y_ticks[-1], _range(y_all)[1]))

    def across(x: np.ndarray | float) -> np.ndarray:
        return left + (np.asarray(x) - x_range[0]) / (x_range[1] - x_range[0]) * (
            width - left - right
        )

    def down(y: np.ndarray | float) -> np.ndarray:
        return (
            height
            - bottom
            - (np.asarray(y) - y_range[0]) / (y_range[1] - y_range[0]) * (height - top - bottom)
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="sans-serif" font-size="12">'
    ]
    for tick in y_ticks:
        level = float(down(tick))
        line = f'<line x1="{left}" x2="{width - right}" y1="{level:.1f}" y2="{level:.1f}"'
        parts += [f'{line} stroke="#ddd"/>', _text(left - 6, level + 4, f"{tick:g}", "end")]
    for tick in _ticks(*x_range):
        if x_range[0] <= tick <= x_range[1]:
            parts.append(_text(across(tick), height - bottom + 16, f"{tick:g}", "middle"))
    parts.append(_text((left + width - right) / 2, height - 6, x_title, "middle"))
    parts.append(_text(4, 14, y_title, "start"))
    for index, (name, (x, y)) in enumerate(curves.items()):
        color = COLORS[index % len(COLORS)]
        for run in np.ma.clump_unmasked(np.ma.masked_invalid(y)):
            points = " ".join(
                f"{a:.1f},{b:.1f}" for a, b in zip(across(x[run]), down(y[run]), strict=True)
            )
            parts.append(
                f'<polyline fill="none" stroke="{color}" stroke-width="1.6" points="{points}"/>'
            )
        place = width - right - 110 * (len(curves) - index)
        parts.append(f'<text x="{place}" y="14" fill="{color}">&#9644; {escaped(name)}</text>')
    return "".join([*parts, "</svg>"])


def _range(values: np.ndarray) -> tuple[float, float]:
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``."""
    rough = (high - low) / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(float(f * power) for f in (1, 2, 2.5, 5, 10) if f * power >= rough * (1 - 1e-9))
    first, last = np.floor(low / step), np.ceil(high / step)
    return [float(n * step) for n in np.arange(first, last + 1)]
