"""The one list of implants: a family is its file and its :class:`ImplantEntry` here.

``mar place``, ``mar dataset``, the panel, scenes and JSON files read it. Light to import: what an
entry names is loaded when it is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.packages import loaded_entries

from .presets import ParameterRange, Preset, sizes_table

if TYPE_CHECKING:
    from .base import Implant

GROUP = "metal_artifact_reduction.implants"
"""Entry points of other packages: each is an :class:`ImplantEntry`."""

_IMPLANTS = __name__.rpartition(".")[0]
_PLACEMENT = "SimulateImplantsLib.placement"
_PROCEDURES = f"{_PLACEMENT}.procedures"


@dataclass(frozen=True)
class Procedure:
    """A way of placing implants on a patient's bones.

    :param name: for ``mar place --kind``. :param label: for the panel, in English.
    :param site: what has to be measured for it: "spine", "hip", or what ``find`` finds.
    :param propose: what fits best: ``(Patient, ProposalOptions) -> PlacementPlan`` of
        ``placement``, or "module:name" of it.
    :param sample: a plausible variant: ``(Patient, seed, index) -> PlacementPlan``, likewise.
    :param find: the site's places in a CT about which nothing is known:
        ``(CTVolume) -> tuple[Spot, ...]``, likewise.
    :param draw: implants on them: ``(Patient, Generator) -> list[PlannedImplant]``; stands for
        ``propose`` and ``sample``.
    :param weight: of being drawn among the procedures of its site for a dataset.
    """

    name: str
    label: str
    site: str
    propose: str | Callable[..., Any] = ""
    sample: str | Callable[..., Any] = ""
    weight: float = 1.0
    find: str | Callable[..., Any] = ""
    draw: str | Callable[..., Any] = ""


@dataclass(frozen=True)
class ImplantEntry:
    """All that is to be known of a family of implants.

    :param kind: its name in files; the ``kind`` of the family.
    :param label: in the panel's list, in English; "" leaves it out.
    :param family: its shape, a frozen dataclass, or "module:name" of it.
    :param sizes: named ones; of the families here they are rows of ``presets.csv``.
    :param forwards: placed by hand it points to the patient's front, as screws do, else upwards.
    :param along_line: it runs from its origin along +z for ``length_mm``: entry and target of a
        line say where it is.
    :param sits: how it should lie: share of its surface in tissues, lowest and highest, see
        ``placement.tissue``.
    :param procedures: how it is placed on bones.
    """

    kind: str
    label: str
    family: str | type[Implant]
    sizes: tuple[Preset, ...] = ()
    forwards: bool = False
    along_line: bool = False
    sits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    procedures: tuple[Procedure, ...] = ()

    def load(self) -> type[Implant]:
        """The family."""
        family: type[Implant] = resolve(self.family)
        return family


def _own(kind: str, label: str, family: str, **more: Any) -> ImplantEntry:
    sizes = sizes_table().get(kind, ())
    return ImplantEntry(kind, label, f"{_IMPLANTS}.{family}", sizes, **more)


def _procedure(name: str, label: str, site: str, sample: str, weight: float = 1.0) -> Procedure:
    propose = f"{_PROCEDURES}:propose_{name.replace('-', '_')}"
    return Procedure(name, label, site, propose, f"{_PROCEDURES}:{sample}", weight)


def _on_site(name: str, label: str, site: str, draw: str, weight: float = 1.0) -> Procedure:
    """A procedure of a region that is found by itself: its file is named after the site."""
    module = f"{_PLACEMENT}.{site}"
    return Procedure(
        name, label, site, weight=weight, find=f"{module}:find", draw=f"{module}:{draw}"
    )


def _on_bones() -> tuple[ImplantEntry, ...]:
    """Placed on vertebrae and hips that are labelled or clicked."""
    spine = _procedure("spine", "Pedicle screws", "spine", "sample_spine")
    hip = _procedure(
        "total-hip", "Hip prosthesis: stem, head, cup", "hip", "sample_total_hip", weight=0.7
    )
    short = _procedure("short-nail", "Femoral nail, short", "hip", "sample_nail", weight=0.3)
    # A sampled nail has either length: long ones come about without being drawn themselves.
    long = _procedure("long-nail", "Femoral nail, long", "hip", "sample_nail", weight=0.0)
    return (
        _own(
            "pedicle-screw",
            "Pedicle screw",
            "pedicle_screw:PedicleScrew",
            forwards=True,
            along_line=True,
            procedures=(
                spine,
                _on_site("iliac-screws", "Iliac screws", "ilium", "draw_screws", 0.3),
            ),
        ),
        _own("rod", "Rod", "rod:Rod", along_line=True),
        _own("cross-link", "Cross-link", "cross_link:CrossLink"),
        _own("interbody-cage", "Interbody cage", "cage:InterbodyCage"),
        _own("anterior-plate", "Anterior plate", "plate:AnteriorPlate"),
        _own("hip-stem", "Hip stem", "hip_stem:HipStem"),
        _own("femoral-head", "Femoral head", "femoral_head:FemoralHead"),
        _own("acetabular-cup", "Acetabular cup", "acetabular_cup:AcetabularCup"),
        _own("total-hip", "Total hip", "total_hip:TotalHip", procedures=(hip,)),
        _own(
            "cephalomedullary-nail",
            "Femoral nail",
            "nail:CephalomedullaryNail",
            procedures=(short, long),
        ),
        _own("bone-screw", "Bone screw", "bone_screw:BoneScrew", forwards=True, along_line=True),
    )


def _dental() -> tuple[ImplantEntry, ...]:
    """On teeth."""
    return (
        _own(
            "filling",
            "Dental filling",
            "dental:Filling",
            sits={"enamel": (0.5, 1.0), "air": (0.0, 0.1)},
            procedures=(_on_site("fillings", "Dental fillings", "teeth", "draw_fillings", 2.0),),
        ),
        _own(
            "crown",
            "Dental crown",
            "dental:Crown",
            sits={"near enamel": (0.7, 1.0), "air": (0.0, 0.3)},
            procedures=(_on_site("crowns", "Dental crowns", "teeth", "draw_crowns", 2.0),),
        ),
        _own(
            "bridge",
            "Dental bridge",
            "dental:Bridge",
            sits={"near enamel": (0.5, 1.0), "air": (0.0, 0.4)},
            procedures=(_on_site("bridge", "Dental bridge", "teeth", "draw_bridge"),),
        ),
        _own(
            "dental-implant",
            "Dental implant",
            "dental:DentalImplant",
            sits={"root: bone+enamel": (0.75, 1.0)},
            procedures=(_on_site("dental-implants", "Dental implants", "teeth", "draw_implants"),),
        ),
        _own(
            "braces",
            "Braces",
            "dental:Braces",
            sits={"bracket: near enamel": (0.5, 1.0), "enamel": (0.0, 0.35)},
            procedures=(_on_site("braces", "Braces", "teeth", "draw_braces"),),
        ),
    )


def _wires_and_clips() -> tuple[ImplantEntry, ...]:
    """Thin metal."""
    return (
        _own("wire", "Wire (Kirschner)", "wires:Wire", along_line=True),
        _own(
            "fiducial",
            "Fiducial marker",
            "wires:Fiducial",
            along_line=True,
            sits={"soft": (0.8, 1.0)},
            procedures=(
                _on_site("fiducials", "Fiducial markers", "soft_tissue", "draw_fiducials", 0.2),
            ),
        ),
        _own("lead", "Pacing lead", "wires:Lead"),
        _own(
            "sternal-wire",
            "Sternal wire",
            "bent_wires:SternalWire",
            sits={"near bone+enamel": (0.05, 1.0), "air": (0.0, 0.25)},
            procedures=(_on_site("sternal-wires", "Sternal wires", "sternum", "draw_wires", 2.0),),
        ),
        _own("staple", "Staple", "bent_wires:Staple", forwards=True),
        _own(
            "surgical-clip",
            "Surgical clip",
            "bent_wires:SurgicalClip",
            sits={"fat+soft": (0.8, 1.0)},
            procedures=(
                _on_site("surgical-clips", "Surgical clips", "soft_tissue", "draw_clips", 0.3),
            ),
        ),
    )


def _cranial() -> tuple[ImplantEntry, ...]:
    """In and on the skull."""
    return (
        _own(
            "aneurysm-clip",
            "Aneurysm clip",
            "bent_wires:AneurysmClip",
            sits={"soft": (0.8, 1.0)},
            procedures=(_on_site("aneurysm-clips", "Aneurysm clips", "skull", "draw_clips"),),
        ),
        _own(
            "embolisation-coil",
            "Embolisation coil",
            "coil:EmbolisationCoil",
            sits={"soft": (0.8, 1.0)},
            procedures=(_on_site("aneurysm-coil", "Coiled aneurysm", "skull", "draw_coil"),),
        ),
        _own(
            "cranial-plate",
            "Cranial plate",
            "cranial_plate:CranialPlate",
            sits={"plate: near bone+enamel": (0.4, 1.0), "screw: bone+enamel": (0.5, 1.0)},
            procedures=(_on_site("cranial-plate", "Cranial plate", "skull", "draw_plate"),),
        ),
        _own(
            "burr-hole-cover",
            "Burr-hole cover",
            "cranial_plate:BurrHoleCover",
            sits={"plate: near bone+enamel": (0.4, 1.0), "screw: bone+enamel": (0.5, 1.0)},
            procedures=(_on_site("burr-hole-covers", "Burr-hole covers", "skull", "draw_covers"),),
        ),
    )


def _shapes() -> tuple[ImplantEntry, ...]:
    """Placed by hand alone."""
    return (
        _own("stent", "Stent", "stent:Stent"),
        _own("user-mesh", "", "user_mesh:UserMesh"),
        _own("sphere", "", "simple_shapes:Sphere"),
        _own("ellipsoid", "", "simple_shapes:Ellipsoid"),
        _own("box", "", "simple_shapes:Box"),
    )


@lru_cache(maxsize=1)
def _registered() -> dict[str, ImplantEntry]:
    own = (*_on_bones(), *_dental(), *_wires_and_clips(), *_cranial(), *_shapes())
    found = {entry.kind: entry for entry in own}
    return found | {entry.kind: entry for entry in loaded_entries(GROUP)}


def register(entry: ImplantEntry) -> None:
    """Add a family, or replace one, in this process; entry points of :data:`GROUP` last.

    :raises InputError: a procedure of that name belongs to another family.
    """
    taken = {p.name: e.kind for e in entries() if e.kind != entry.kind for p in e.procedures}
    for procedure in entry.procedures:
        if procedure.name in taken:
            raise InputError(
                f"procedure {procedure.name!r} of {entry.kind} is one of {taken[procedure.name]}; "
                "give it another name"
            )
    _registered()[entry.kind] = entry


def entries() -> tuple[ImplantEntry, ...]:
    """Every family, in the order of the panel's list."""
    return tuple(_registered().values())


def entry_of(kind: Any) -> ImplantEntry:
    """A family's entry; InputError lists those that exist."""
    try:
        return _registered()[kind]
    except (KeyError, TypeError):
        names = ", ".join(_registered())
        raise InputError(f"unknown kind of implant {kind!r}; there are: {names}") from None


def procedures(site: str | None = None) -> dict[str, Procedure]:
    """The ways of placing implants on bones by name, at one site or at all."""
    every = (procedure for entry in entries() for procedure in entry.procedures)
    return {one.name: one for one in every if site in (None, one.site)}


def sites() -> tuple[str, ...]:
    """Every site of a procedure."""
    return tuple(dict.fromkeys(one.site for one in procedures().values()))


def finder_of(site: str) -> Any:
    """What finds a site in a CT by itself; "" where bones have to be named or clicked."""
    return next((one.find for one in procedures(site).values() if one.find), "")


def procedure_of(name: str) -> Procedure:
    """The procedure of that name; InputError lists those that exist."""
    known = procedures()
    if name not in known:
        raise InputError(f"unknown kind of implants {name!r}; use one of {', '.join(known)}")
    return known[name]


def implant_kinds() -> dict[str, type[Implant]]:
    """Families by their ``kind``."""
    return {entry.kind: entry.load() for entry in entries()}


def presets(kind: str | None = None) -> list[Preset]:
    """Named sizes of one family or of all, in order."""
    chosen = entries() if kind is None else [entry_of(kind)]
    return [preset for entry in chosen for preset in entry.sizes]


def find_preset(kind: str, name: str) -> Preset:
    """The preset of that name; InputError lists those that exist."""
    for preset in presets(kind):
        if preset.name == name:
            return preset
    names = ", ".join(preset.name for preset in presets(kind)) or "none"
    raise InputError(f"no preset {name!r} of {kind}; there are: {names}")


def parameter_ranges(kind: str) -> dict[str, ParameterRange]:
    """Ranges of a family's parameters by name (empty for a family without limits)."""
    entry = _registered().get(kind)
    return dict(entry.load().ranges) if entry else {}


def implant_from_dict(description: Mapping[str, Any]) -> Implant:
    """Make an implant from ``{"kind": ..., parameter: value, ...}``.

    ``"preset"`` names a size to start from. Parameters that are not given take the preset's or
    the family's default. The inverse of :meth:`.base.Implant.to_dict`.

    >>> implant_from_dict({"kind": "rod", "length_mm": 60}).diameter_mm
    5.5
    """
    if not isinstance(description, Mapping):
        raise InputError(f"an implant is a table of parameters, not {description!r}")
    kind = description.get("kind")
    family = entry_of(kind).load()
    values = {key: value for key, value in description.items() if key not in ("kind", "preset")}
    if description.get("preset") is not None:
        values = dict(find_preset(str(kind), description["preset"]).parameters) | values
    known = [item.name for item in fields(family)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(known)}"
            raise InputError(f"{kind} has no parameter {key!r}; {hint}")
    return family(**{key: _restored(value) for key, value in values.items()})


def implant_from_preset(kind: str, name: str, **changes: Any) -> Implant:
    """Make an implant of a named size, some parameters changed."""
    return implant_from_dict({"kind": kind, "preset": name} | changes)


def resolve(reference: Any) -> Any:
    """What "module:name" names; anything else is itself."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" in value:
        return implant_from_dict(value)
    if isinstance(value, (list, tuple)):
        return tuple(_restored(item) for item in value)
    return value
