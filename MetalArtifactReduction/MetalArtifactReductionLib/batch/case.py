"""One volume of a batch, and what decides what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..correction.options import CorrectionOptions
from ..files.inputs import is_file
from ..weights import SUFFIX, own_weights

_RARE = ("method_options", "window", "trace")
"""Options that no command line and no CSV offers so far."""


_DEFAULT = CorrectionOptions()


@dataclass(frozen=True)
class Case:
    """One volume and how it is corrected.

    :param given: the input as the user wrote it: what summaries show.
    :param input: file or folder of DICOM, absolute.
    :param output: name of the case's folder below that of the batch, with ``/`` between parts.
    :param mask: metal mask, absolute; the metal is segmented if None.
    :param series: of a folder with several. :param acquisition: of a series with several.
    :param hu_offset: added to the values. :param assume_ct: take other modalities as CT.
    :param options: how it is corrected.
    """

    given: str
    input: Path
    output: str = ""
    mask: Path | None = None
    series: str | None = None
    acquisition: str | None = None
    hu_offset: float = 0.0
    assume_ct: bool = False
    options: CorrectionOptions = field(default_factory=CorrectionOptions)

    def reading(self) -> dict[str, Any]:
        """How the input is read: arguments of :func:`..volume.read_volume`."""
        return {
            "series": self.series,
            "acquisition": self.acquisition,
            "hu_offset": self.hu_offset,
            "assume_ct": self.assume_ct,
        }

    def settings(self) -> dict[str, Any]:
        """Everything that decides what comes out; plain values."""
        options, default = self.options, _DEFAULT
        rare = [name for name in _RARE if getattr(options, name) != getattr(default, name)]
        chosen = options.as_dict() if rare else {}  # which takes long for a long list
        return {
            "input": stamp(self.input),
            "mask": stamp(self.mask) if self.mask else "",
            "series": self.series,
            "method": _stamp_of_method(self.options.method),
            "threshold": self.options.threshold_hu,
            "segmentation": self.options.segmentation,
            "reconstruction": self.options.reconstruction,
            # Not of folders of earlier versions, which go on to count.
            **{name: value for name, value in self.reading().items() if value and name != "series"},
            **{name: chosen[name] for name in rare},
        }


def _stamp_of_method(method: str) -> str:
    weights = Path(method) if method.endswith(SUFFIX) else own_weights().get(method)
    return stamp(weights) if weights is not None and is_file(weights) else method


def stamp(path: Path) -> str:
    """Changes when the file, or a file of the folder, does: sizes and times, not contents."""
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        facts = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    except OSError:
        return "unreadable"
    newest = max((when for _, when in facts), default=0)
    return f"{path.name}: {len(facts)} files, {sum(size for size, _ in facts)} bytes, {newest} ns"
