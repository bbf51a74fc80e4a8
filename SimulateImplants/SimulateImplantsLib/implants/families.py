"""The families of this extension, one :class:`ImplantEntry` each, as the panel lists them."""

from __future__ import annotations

from typing import Any

from .entry import ImplantEntry, Procedure
from .presets import sizes_table

_IMPLANTS = __name__.rpartition(".")[0]
_PLACEMENT = "SimulateImplantsLib.placement"
_PROCEDURES = f"{_PLACEMENT}.procedures"
_SCREWED = ("sides", "levels", "rods")
_ONE_SIDED = ("aorta", "sternum", "skin", "soft_tissue")


def own_entries() -> tuple[ImplantEntry, ...]:
    """All of them."""
    return (
        *_on_spine(),
        *_on_hips(),
        *_on_limbs(),
        *_dental(),
        *_wires(),
        *_on_chest(),
        *_in_vessels(),
        *_staples_and_clips(),
        *_cranial(),
        *_shapes(),
    )


def _own(kind: str, label: str, family: str, **more: Any) -> ImplantEntry:
    sizes = sizes_table().get(kind, ())
    return ImplantEntry(kind, label, f"{_IMPLANTS}.{family}", sizes, **more)


def _procedure(
    name: str, label: str, site: str, sample: str, weight: float = 1.0, **more: Any
) -> Procedure:
    propose = f"{_PROCEDURES}:propose_{name.replace('-', '_')}"
    return Procedure(name, label, site, propose, f"{_PROCEDURES}:{sample}", weight, **more)


def _on_site(name: str, label: str, site: str, draw: str, weight: float = 1.0) -> Procedure:
    """A procedure of a region that is found by itself: its file is named after the site."""
    module = f"{_PLACEMENT}.{site}"
    found = {"find": f"{module}:find", "draw": f"{module}:{draw}"}
    heeds = () if site in _ONE_SIDED else ("sides",)
    return Procedure(name, label, site, weight=weight, heeds=heeds, **found)


def _spinal_screws() -> tuple[ImplantEntry, ...]:
    """Placed on vertebrae that are labelled or clicked, or on a pelvis."""
    screw: dict[str, Any] = {"forwards": True, "along_line": True}
    procedures = (
        _procedure("spine", "Pedicle screws", "spine", "sample_spine", heeds=_SCREWED),
        _on_site("iliac-screws", "Iliac screws", "ilium", "draw_screws", 0.3),
        _on_site("s2ai-screws", "S2 alar-iliac screws", "sacral_ala", "draw_screws", 0.3),
    )
    plan = f"{_PLACEMENT}.neck.plan"
    neck = ("lateral-mass", "Lateral mass screws", "neck", f"{plan}:propose", f"{plan}:sample")
    masses = (Procedure(*neck, heeds=_SCREWED),)
    family = "lateral_mass_screw:LateralMassScrew"
    return (
        _own(
            *("pedicle-screw", "Pedicle screw", "pedicle_screw:PedicleScrew"),
            procedures=procedures,
            **screw,
        ),
        _own("lateral-mass-screw", "Lateral mass screw", family, procedures=masses, **screw),
    )


def _on_spine() -> tuple[ImplantEntry, ...]:
    """Placed on vertebrae that are labelled or clicked."""
    return (
        *_spinal_screws(),
        _own("rod", "Rod", "rod:Rod", along_line=True),
        _own("cross-link", "Cross-link", "cross_link:CrossLink"),
        _own(
            "interbody-cage",
            "Interbody cage",
            "cage:InterbodyCage",
            sits={"ring: inside bone+enamel": (0.38, 0.75), "air+fat": (0.0, 0.15)},
            procedures=(
                _procedure(
                    "cages", "Interbody cages", "spine", "sample_cages", 0.2, heeds=("levels",)
                ),
            ),
        ),
        _own(
            "anterior-plate",
            "Anterior plate",
            "plate:AnteriorPlate",
            sits={
                "screw: inside bone+enamel": (0.42, 1.0),
                "plate: inside bone+enamel": (0.0, 0.3),
            },
            procedures=(
                _procedure(
                    "anterior-plates",
                    "Anterior plates",
                    "spine",
                    "sample_anterior_plates",
                    0.2,
                    heeds=("levels",),
                ),
            ),
        ),
    )


def _on_hips() -> tuple[ImplantEntry, ...]:
    """Placed on hips that are labelled or clicked."""
    grade = f"{_PLACEMENT}.hip.grade:hip_grade"
    hip = _procedure(
        "total-hip", "Hip prosthesis: stem, head, cup", "hip", "sample_total_hip", weight=0.7
    )
    hips = [
        _procedure(name, label, "hip", f"sample_{name.replace('-', '_')}", 0.15)
        for name, label in (
            ("revision-hip", "Hip revision: long stem, head, cup"),
            ("dual-mobility", "Hip prosthesis with a dual-mobility cup"),
            ("resurfacing", "Hip resurfacing"),
        )
    ]
    short = _procedure("short-nail", "Femoral nail, short", "hip", "sample_nail", weight=0.3)
    # A sampled nail has either length: long ones come about without being drawn themselves.
    long = _procedure("long-nail", "Femoral nail, long", "hip", "sample_nail", weight=0.0)
    return (
        _own("hip-stem", "Hip stem", "hip_stem:HipStem", graded=grade, procedures=(hips[0],)),
        _own("femoral-head", "Femoral head", "femoral_head:FemoralHead"),
        _own("acetabular-cup", "Acetabular cup", "acetabular_cup:AcetabularCup", graded=grade),
        _own("total-hip", "Total hip", "total_hip:TotalHip", procedures=(hip,)),
        _own(
            "dual-mobility-cup",
            "Dual-mobility cup",
            "dual_mobility_cup:DualMobilityCup",
            graded=grade,
            procedures=(hips[1],),
        ),
        _own(
            "resurfacing-head",
            "Resurfacing head",
            "resurfacing_head:ResurfacingHead",
            graded=grade,
            procedures=(hips[2],),
        ),
        _own(
            "cephalomedullary-nail",
            "Femoral nail",
            "nail:CephalomedullaryNail",
            graded=grade,
            procedures=(short, long),
        ),
        _own("bone-screw", "Bone screw", "bone_screw:BoneScrew", forwards=True, along_line=True),
    )


def _on_limbs() -> tuple[ImplantEntry, ...]:
    """On bones and joints that are found by themselves."""
    return (
        _own(
            "total-knee",
            "Total knee",
            "total_knee:TotalKnee",
            sits={
                # In the bone that was sawn off, and in the joint's gap.
                "insert: spongiosa+bone+enamel": (0.56, 0.85),
                "keel: inside bone+enamel": (0.7, 1.0),
            },
            procedures=(_on_site("total-knee", "Knee prosthesis", "knee", "draw_prosthesis", 2.0),),
        ),
        _own(
            "total-shoulder",
            "Total shoulder",
            "total_shoulder:TotalShoulder",
            sits={
                "stem: inside bone+enamel": (0.6, 1.0),
                "glenoid: near spongiosa+bone+enamel": (0.35, 1.0),
            },
            procedures=(
                _on_site("total-shoulder", "Shoulder prosthesis", "shoulder", "draw_prosthesis"),
            ),
        ),
        _own(
            "bone-plate",
            "Bone plate",
            "bone_plate:BonePlate",
            sits={
                "screw: inside bone+enamel": (0.4, 1.0),
                "plate: near bone+enamel": (0.15, 1.0),
                "plate: inside bone+enamel": (0.0, 0.3),
            },
            procedures=(_on_site("bone-plate", "Plate on a long bone", "limb", "draw_plate"),),
        ),
        _own(
            "external-fixator",
            "External fixator",
            "external_fixator:ExternalFixator",
            sits={"thread: inside bone+enamel": (0.7, 1.0)},
            procedures=(
                _on_site("external-fixator", "External fixator", "limb", "draw_fixator", 0.5),
            ),
        ),
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


def _wires() -> tuple[ImplantEntry, ...]:
    """Straight ones, whole or in pieces."""
    return (
        _own(
            "wire",
            "Wire (Kirschner)",
            "wires:Wire",
            along_line=True,
            sits={"inside bone+enamel": (0.55, 1.0)},
            procedures=(_on_site("k-wires", "Kirschner wires", "limb", "draw_wires", 0.5),),
        ),
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
    )


def _on_chest() -> tuple[ImplantEntry, ...]:
    """Under the skin of the chest, in its veins, and about the sternum."""
    return (
        _own(
            "lead",
            "Pacing lead",
            "wires:Lead",
            sits={
                "conductor: air": (0.0, 0.05),
                "conductor: bone+enamel": (0.0, 0.1),
                "electrode: fat+soft": (0.85, 1.0),
            },
        ),
        _own(
            "pacemaker",
            "Pacemaker",
            "pacemaker:Pacemaker",
            sits={"fat+soft": (0.93, 1.0), "air": (0.0, 0.02)},
            procedures=(_on_site("pacemaker", "Pacemaker and leads", "chest", "draw_pacemaker"),),
        ),
        _own(
            "port",
            "Port",
            "port:Port",
            sits={"fat+soft": (0.93, 1.0), "air": (0.0, 0.02)},
            procedures=(_on_site("port", "Port and catheter", "chest", "draw_port"),),
        ),
        _own(
            "catheter",
            "Catheter",
            "port:Catheter",
            sits={"air": (0.0, 0.05), "bone+enamel": (0.0, 0.1)},
        ),
        _own(
            "sternal-wire",
            "Sternal wire",
            "bent_wires:SternalWire",
            sits={"near bone+enamel": (0.05, 1.0), "air": (0.0, 0.25)},
            procedures=(_on_site("sternal-wires", "Sternal wires", "sternum", "draw_wires", 2.0),),
        ),
    )


def _in_vessels() -> tuple[ImplantEntry, ...]:
    """In the aorta."""
    return (
        _own(
            "stent",
            "Stent",
            "stent:Stent",
            graded=f"{_PLACEMENT}.lumen:stent_grade",
            procedures=(
                _on_site("aortic-stent", "Stent-graft in the aorta", "aorta", "draw_stent", 0.3),
            ),
        ),
    )


def _staples_and_clips() -> tuple[ImplantEntry, ...]:
    """What closes skin, bone and vessels."""
    return (
        _own("staple", "Bone staple", "bent_wires:Staple", forwards=True),
        _own(
            "skin-staple",
            "Skin staple",
            "bent_wires:SkinStaple",
            forwards=True,
            sits={"near air": (0.15, 1.0), "fat+soft": (0.3, 1.0)},
            procedures=(_on_site("skin-staples", "Skin staples", "skin", "draw_staples", 0.3),),
        ),
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
        _own("user-mesh", "", "user_mesh:UserMesh"),
        _own("sphere", "", "simple_shapes:Sphere"),
        _own("ellipsoid", "", "simple_shapes:Ellipsoid"),
        _own("box", "", "simple_shapes:Box"),
    )
