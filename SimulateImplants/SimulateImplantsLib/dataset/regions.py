"""What a CT shows, and metal drawn for it: a head gets dental metal, a pelvis hips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..cases.rods_in_bone import rods_in_bone
from ..implants import procedures
from ..implants.registry import finder_of, sites
from ..placement.neck.locate import LEVELS as NECK
from ..placement.patient import Bones, Patient, measure_patient
from ..placement.plan import PlacementPlan, PlannedImplant
from ..placement.procedures import sampled_plan
from ..placement.random_shapes import METALS
from ..placement.spine.levels import level_of

_TRIES = 5
"""Not every procedure fits everywhere: a bridge needs three neighbouring teeth."""


def patients_in(
    volume: CTVolume, bones: Bones | None = None, only: Sequence[str] = ()
) -> dict[str, Patient]:
    """What implants can be drawn on, by site.

    :param bones: labels and clicks; without them only what is found by itself.
    :param only: sites to look for; all if empty.
    :raises InputError: an unknown site, or nothing was found; says why.
    """
    for site in only:
        if site not in sites():
            raise InputError(f"unknown site {site!r}; there are: {', '.join(sites())}")
    bones = bones or Bones()
    levels = {name: place for name, place in bones.clicks.items() if level_of(name)}
    in_neck = {name for name in levels if level_of(name) in NECK}
    clicks = {
        "spine": {name: levels[name] for name in levels if name not in in_neck},
        "neck": {name: levels[name] for name in in_neck},
        "hip": {name: place for name, place in bones.clicks.items() if not level_of(name)},
    }
    found: dict[str, Patient] = {}
    reasons: list[str] = []
    for site in only or sites():
        own = clicks.get(site, {})
        if not (bones.labels or own or finder_of(site)):
            continue
        try:
            found[site] = measure_patient(volume, Bones(bones.labels, own), site)
        except InputError as error:
            reasons.append(f"{site}: {error}")
    if not found:
        raise InputError("; ".join(reasons) or "no labels and no clicks name bones")
    return found


def drawn_plan(patients: Mapping[str, Patient], seed: int) -> PlacementPlan:
    """Implants of one procedure, chosen among those of all sites by their weights.

    :raises InputError: nothing fits there.
    """
    usual = sorted(
        (site, one.name, one.weight)
        for site in patients
        for one in procedures(site).values()
        if one.weight > 0
    )
    shares = np.cumsum([weight for _, _, weight in usual])
    rng = np.random.default_rng(seed)
    for _ in range(_TRIES):
        at = int(np.searchsorted(shares / shares[-1], rng.random(), side="right"))
        site, name, _ = usual[at]
        try:
            return sampled_plan(patients[site], name, seed)
        except InputError as error:
            reason = error
    raise reason


def drawn_rods(volume: CTVolume, seed: int, rng: np.random.Generator) -> PlacementPlan:
    """One to three rods in the thickest bones, for a CT whose bones nobody named.

    :raises InputError: no bone is thick enough.
    """
    rods = rods_in_bone(
        volume,
        int(rng.integers(1, 4)),
        str(rng.choice(METALS)),
        float(rng.uniform(30.0, 90.0)),
    )
    items = tuple(PlannedImplant(rod.implant.to_dict(), rod.placement) for rod in rods)
    return PlacementPlan(items, seed, "rods in the thickest bones")
