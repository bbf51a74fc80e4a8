"""Inputs that hold several volumes, of which one has to be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError

ALL = "all"
"""For an acquisition: stack whatever there is."""

EACH = "each"
"""For an acquisition, in a batch: every one is a case."""


class SeveralVolumes(InputError):
    """No single volume was meant; ``rows`` is the table of those there are.

    :param names: what chooses each of several acquisitions; empty for several series.
    """

    def __init__(
        self, message: str, rows: Sequence[Mapping[str, str]], names: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.rows, self.names = tuple(rows), tuple(names)


def chosen_phase(path: Path, shape: Sequence[int], phases: int, wanted: str | int | None) -> int:
    """Which of the volumes of one file, from 0; they count from 1.

    :param shape: ``(columns, rows, slices)``.
    :raises SeveralVolumes: none was chosen, or there is no such one.
    """
    text = "" if wanted is None else str(wanted).strip()
    if phases == 1 and text in ("", ALL):
        return 0
    if text.isdecimal() and 1 <= int(text) <= phases:
        return int(text) - 1
    size = " x ".join(map(str, shape))
    what = f"no acquisition {text!r} among" if text else "holds"
    names = [str(number + 1) for number in range(phases)]
    raise SeveralVolumes(
        f"{path}: {what} {phases} volumes of {size} voxels (phases): choose one, 1 to {phases}"
        " (acquisition=..., --acquisition); each one is a case of a batch with --acquisition each",
        [{"acquisition": name, "slices": str(shape[2])} for name in names],
        names,
    )
