"""Many simulated cases in a folder, each the same whatever machine and number of processes."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import Cancelled, InputError, MARError
from MetalArtifactReductionLib.files.inputs import check_readable
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.files.whole import new_folder
from MetalArtifactReductionLib.physics.acquisition import PRESETS, AcquisitionParameters
from MetalArtifactReductionLib.progress import Cancel
from MetalArtifactReductionLib.volume import CTVolume

from ..cases.case import simulate_metal, write_case
from ..cases.clean import require_no_metal
from ..cases.label_files import read_bones
from ..cases.options import SimulationOptions
from ..cases.plan_files import metal_of
from ..cases.records import suffix_for
from ..placement.patient import Bones, Patient
from ..placement.plan import PlacementPlan
from ..placement.random_shapes import load_masks, sample_random_plan
from ..voxels.metal import cut_aside, slices_of, slices_with, some_slices
from .regions import drawn_plan, drawn_rods, patients_in

KINDS = ("realistic", "rods", "random")
"""Implants where surgeons place them (spine and hips need named bones), rods in the thickest bones,
and shapes at random places."""

MARKER = "case.json"
"""Written last: a folder without it is half a case."""

SLAB_MM = 40.0
"""Random shapes of a case have their centres within so much of the CT's length: what lies farther
apart shares no slice and only costs disk."""


@dataclass(frozen=True)
class CTSource:
    """A clean CT and what is known of its bones.

    :param path: file or DICOM folder. :param series: of a folder with several.
    :param segmentation, names: see ``label_files.read_bones``; None without.
    :param clicks: RAS points: in vertebral bodies by level ("L3"), in femoral heads by other names.
    :param sites: where realistic metal may lie; wherever it can if empty.
    """

    path: Path
    series: str | None = None
    segmentation: Path | None = None
    names: str | None = None
    clicks: tuple[tuple[str, tuple[float, float, float]], ...] = ()
    sites: tuple[str, ...] = ()

    @property
    def has_bones(self) -> bool:
        """Whether spine and hips can get implants; the other sites are found by themselves."""
        return self.segmentation is not None or bool(self.clicks)

    def check(self) -> None:
        """Raise InputError for files that cannot be read."""
        for path in (self.path, self.segmentation):
            if path is not None:
                check_readable(path, folder=True)


@dataclass(frozen=True)
class DatasetPlan:
    """What a dataset consists of.

    :param sources: clean CTs.
    :param seed: case ``i`` depends on ``(seed, i)`` and on nothing that another case does.
    :param mix: weight of each of :data:`KINDS`.
    :param simulation: of every case, but for its seed and its scanner.
    :param acquisitions: one of these scanners is drawn for each case.
    :param margin_slices: slices kept on either side of the metal; they stay as in the CT.
    :param most_slices: of a case, drawn where there is metal; None: all that it reaches.
    :param outlines: ``.npz`` of 2-D metal shapes for the random kind; made up when None.
    :param suffix: of the volumes; None: as the CT.
    :param clean: also write the CT's own slices.
    :param allow_metal: use a CT that holds metal already.
    """

    sources: tuple[CTSource, ...]
    seed: int = 0
    mix: Mapping[str, float] = field(default_factory=lambda: {"rods": 0.5, "random": 0.5})
    simulation: SimulationOptions = field(default_factory=SimulationOptions)
    acquisitions: tuple[AcquisitionParameters, ...] = (PRESETS["reference"],)
    margin_slices: int = 2
    most_slices: int | None = None
    outlines: Path | None = None
    suffix: str | None = None
    clean: bool = False
    allow_metal: bool = False

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("a dataset needs one CT or more")
        for kind, weight in self.mix.items():
            if kind not in KINDS:
                raise InputError(f"unknown kind {kind!r} in the mix; use {', '.join(KINDS)}")
            if not 0 <= weight < float("inf"):
                raise InputError(f"weight {weight!r} of {kind} in the mix must be 0 or more")
        if not sum(self.mix.values()) > 0:
            raise InputError("the mix is empty; give a kind a weight, such as random=1")
        if self.margin_slices < 0:
            raise InputError(f"margin of {self.margin_slices} slices must be 0 or more")
        if self.most_slices is not None and self.most_slices < 1:
            raise InputError(f"{self.most_slices} slices a case must be 1 or more")

    def anywhere(self) -> DatasetPlan:
        """The same for a process that stands in another folder: files by their full paths."""

        def full(name: str | None) -> str | None:
            return str(Path(name).absolute()) if name and Path(name).is_file() else name

        sources = tuple(
            replace(
                one,
                path=one.path.absolute(),
                segmentation=one.segmentation and one.segmentation.absolute(),
                names=full(one.names),
            )
            for one in self.sources
        )
        return replace(self, sources=sources, outlines=self.outlines and self.outlines.absolute())

    def settings(self) -> dict[str, Any]:
        """What decides every case, of JSON types; file names without their folders."""
        return {
            "format": 1,
            "seed": self.seed,
            "mix": {kind: float(w) for kind, w in sorted(self.mix.items()) if w > 0},
            "cts": [
                {
                    "ct": source.path.name,
                    "series": source.series,
                    "segmentation": source.segmentation and source.segmentation.name,
                    "names": source.names and Path(source.names).name,
                    "clicks": {name: list(place) for name, place in source.clicks},
                    "sites": list(source.sites),
                }
                for source in self.sources
            ],
            "acquisitions": [one.to_dict() for one in self.acquisitions],
            "model": self.simulation.model,
            "margin_slices": self.margin_slices,
            "outlines": self.outlines and self.outlines.name,
            "suffix": self.suffix,
            "clean": self.clean,
            "with_reference": self.simulation.with_reference,
        } | ({} if self.most_slices is None else {"most_slices": self.most_slices})


@dataclass(frozen=True)
class CaseDraw:
    """What chance gave a case.

    :param source, acquisition: indices into the plan's.
    :param placement_seed, noise_seed: of its metal and its noise.
    """

    index: int
    kind: str
    source: int
    acquisition: int
    placement_seed: int
    noise_seed: int


@dataclass(frozen=True)
class CaseResult:
    """How a case ended.

    :param status: "done", "failed", "there" (was finished before) or "stopped".
    :param reason: why it failed.
    """

    index: int
    status: str
    kind: str = ""
    ct: str = ""
    first_slice: int = 0
    slices: int = 0
    metal_ml: float = 0.0
    seconds: float = 0.0
    reason: str = ""


def draw_case(plan: DatasetPlan, index: int) -> CaseDraw:
    """Kind, CT, scanner and seeds of case ``index``."""
    rng = np.random.default_rng([plan.seed, index])
    kinds = [kind for kind in KINDS if plan.mix.get(kind, 0) > 0]
    weights = np.array([plan.mix[kind] for kind in kinds], float)
    kind = str(rng.choice(kinds, p=weights / weights.sum()))
    source = int(rng.integers(len(plan.sources)))
    acquisition = int(rng.integers(len(plan.acquisitions)))
    placement, noise = (int(n) for n in rng.integers(0, 2**31, 2))
    return CaseDraw(index, kind, source, acquisition, placement, noise)


def case_folder(folder: Path, index: int) -> Path:
    """Where case ``index`` lies."""
    return folder / f"case-{index:05d}"


def make_case(plan: DatasetPlan, folder: Path, stop: Path, index: int) -> CaseResult:
    """Make one case; whatever goes wrong is told in the result and never raised.

    :param stop: gives up once this file exists.
    """
    start = time.monotonic()
    draw = draw_case(plan, index)
    source = plan.sources[draw.source]
    facts: dict[str, Any] = {"kind": draw.kind, "ct": source.path.name}
    target = case_folder(folder, index)
    if (target / MARKER).exists():
        return CaseResult(index, "there", **facts)
    try:
        facts |= _make(plan, draw, target, stop)
        return CaseResult(index, "done", **facts, seconds=round(time.monotonic() - start, 1))
    except Cancelled:
        return CaseResult(index, "stopped", **facts)
    except MemoryError:
        reason = "not enough memory; use fewer workers, or crop the CT"
    except MARError as error:
        reason = " ".join(str(error).split())
    except Exception as error:  # the run goes on; the place in the code goes into the log
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    seconds = round(time.monotonic() - start, 1)
    return CaseResult(index, "failed", **facts, seconds=seconds, reason=" ".join(reason.split()))


def metal_for(plan: DatasetPlan, draw: CaseDraw, volume: CTVolume) -> PlacementPlan:
    """The metal of a case, in the whole CT.

    :raises InputError: no bone, no body, nothing that could be measured.
    """
    source = plan.sources[draw.source]
    rng = np.random.default_rng(draw.placement_seed)
    if draw.kind == "random":
        slices = len(volume.hu)
        count = min(slices, max(1, round(SLAB_MM / volume.spacing_mm[0])))
        slab = slices_of(volume, int(rng.integers(0, slices - count + 1)), count)
        outlines = None if plan.outlines is None else load_masks(plan.outlines)
        return sample_random_plan(slab, draw.placement_seed, outlines)
    if draw.kind == "rods":
        return drawn_rods(volume, draw.placement_seed, rng)
    return drawn_plan(measured(source), draw.placement_seed)


def _make(plan: DatasetPlan, draw: CaseDraw, target: Path, stop: Path) -> dict[str, Any]:
    """Place, simulate and write one case; returns facts for the log."""
    source = plan.sources[draw.source]
    whole = _read(source.path, source.series)
    if not plan.allow_metal:
        _require_no_metal(source.path, source.series)
    scanner = plan.acquisitions[draw.acquisition]
    options = replace(plan.simulation, acquisition=scanner, seed=draw.noise_seed)
    marker = {
        "case": draw.index,
        "kind": draw.kind,
        "ct": source.path.name,
        "placement_seed": draw.placement_seed,
        "noise_seed": draw.noise_seed,
        "acquisition": draw.acquisition,
    }
    return write_placed(
        metal_for(plan, draw, whole),
        whole,
        options,
        target,
        marker,
        margin_slices=plan.margin_slices,
        most_slices=plan.most_slices,
        suffix=plan.suffix,
        clean=plan.clean,
        cancel=stop.exists,
    )


def write_placed(
    placement: PlacementPlan,
    whole: CTVolume,
    options: SimulationOptions,
    target: Path,
    marker: Mapping[str, Any],
    *,
    margin_slices: int = 2,
    most_slices: int | None = None,
    suffix: str | None = None,
    clean: bool = False,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Simulate a placement in the slices of a CT that it reaches, and write the case.

    :param target: the case's folder; whole or not at all.
    :param marker: what :data:`MARKER` says, besides description and warnings.
    :returns: facts for a log.
    :raises InputError: see :func:`simulate_metal`. :raises OutputError: see ``new_folder``.
    """
    metal = metal_of(placement)
    first, count = slices_with(metal, whole, margin_slices)
    cut_off = count > (most_slices or count)
    if most_slices and cut_off:
        count, rng = most_slices, np.random.default_rng(options.seed)
        first, metal = some_slices(metal, whole, count, rng)
    volume = slices_of(whole, first, count)
    case = simulate_metal(volume, metal, options, cancel=cancel)
    if cut_off:  # above and below it is meant, and no reason to move an implant
        case = replace(case, warnings=cut_aside(metal, volume))
    cut = {"first_slice": first, "of_slices": len(whole.hu)}
    case = replace(case, record={**case.record, "cut": cut})
    with new_folder(target) as made:
        write_case(case, made, suffix_for(volume, suffix), clean=volume if clean else None)
        (made / "plan.json").write_text(placement.to_json() + "\n", encoding="utf-8")
        text = {
            **marker,
            "description": placement.description,
            "warnings": [*placement.warnings, *case.warnings],
        }
        (made / MARKER).write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
    millilitres = sum(case.record["volumes_mm3"].values()) / 1000
    return {"first_slice": first, "slices": count, "metal_ml": round(millilitres, 2)}


@lru_cache(maxsize=1)
def _read(path: Path, series: str | None) -> CTVolume:
    """The CT; cases of one CT that follow each other in a process read it once."""
    return read_volume(path, series=series)


@lru_cache(maxsize=1)
def _require_no_metal(path: Path, series: str | None) -> None:
    require_no_metal(_read(path, series), path)


@lru_cache(maxsize=1)
def measured(source: CTSource) -> Mapping[str, Patient]:
    """What implants can be drawn on, by site.

    :raises InputError: nothing could be measured; says why.
    """
    volume = _read(source.path, source.series)
    labels = (
        {} if source.segmentation is None else read_bones(source.segmentation, volume, source.names)
    )
    return patients_in(volume, Bones(labels, dict(source.clicks)), source.sites)


def order_by_ct(plan: DatasetPlan, indices: Sequence[int]) -> list[int]:
    """Cases of the same CT after one another, so that it is read and measured once."""
    return sorted(indices, key=lambda index: (draw_case(plan, index).source, index))
