"""What every implant is: parameters in, closed surfaces with a material out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.physics.materials import material as find_material

from .mesh import Mesh, join
from .presets import ParameterRange, ranges_table

if TYPE_CHECKING:
    import vtk


@dataclass(frozen=True)
class ImplantPart:
    """One closed surface of one material.

    :param name: unique within the implant, e.g. "shaft".
    :param mesh: the surface in mm in the implant's frame, normals outward.
    :param material: name in ``MetalArtifactReductionLib.physics.materials``.
    :param role: what the part does: "screw", "rod", "stem", "liner", "marker", ...
    """

    name: str
    mesh: Mesh
    material: str
    role: str = ""

    @property
    def surface(self) -> vtk.vtkPolyData:
        """The surface as a new vtkPolyData."""
        return self.mesh.to_polydata()


class Implant(ABC):
    """Base of the families: a frozen dataclass whose numbers are checked when it is made.

    Limits of the numeric parameters are the rows of ``ranges.csv`` for the family's ``kind``; a
    family of another package says them as its ``ranges``.
    """

    kind: ClassVar[str]
    ranges: ClassVar[Mapping[str, ParameterRange]] = {}
    material: str

    def __init_subclass__(cls) -> None:
        if "ranges" not in cls.__dict__:
            cls.ranges = ranges_table().get(getattr(cls, "kind", ""), {})

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            declared = str(item.type)
            label = f"{self.kind}: {item.name}"
            if value is None and "None" in declared:
                continue
            if declared.startswith("float"):
                value = _number(label, value)
            elif declared.startswith("int"):
                number = _number(label, value)
                if number != int(number):
                    raise InputError(f"{label} of {value} is not a whole number")
                value = int(number)
            elif declared.startswith("bool"):
                if value not in (True, False):
                    raise InputError(f"{label} of {value!r} is neither true nor false")
                value = bool(value)
            elif declared.startswith("str") and not isinstance(value, str):
                raise InputError(f"{label} of {value!r} is not text")
            object.__setattr__(self, item.name, value)
            if item.name in self.ranges:
                self.ranges[item.name].check(label, value)
        for item in fields(self):  # type: ignore[arg-type]
            if item.name.endswith("material"):
                known = find_material(getattr(self, item.name))
                object.__setattr__(self, item.name, known.name)
        self.check()

    def check(self) -> None:  # noqa: B027 - most families have nothing more to check
        """Raise InputError for parameters that do not go together."""

    @abstractmethod
    def parts(self) -> list[ImplantPart]:
        """The closed surfaces; those of one implant may overlap (metal is counted once)."""

    def surface(self) -> vtk.vtkPolyData:
        """All parts in one vtkPolyData (overlapping shells are not merged)."""
        return self.mesh().to_polydata()

    def mesh(self) -> Mesh:
        """All parts in one mesh."""
        return _joined(self)

    def to_dict(self) -> dict[str, Any]:
        """The implant as JSON types; :func:`implant_from_dict` makes an equal one again."""
        return {"kind": self.kind} | {
            item.name: _plain(getattr(self, item.name))
            for item in fields(self)  # type: ignore[arg-type]
        }


@lru_cache(maxsize=16)
def _joined(implant: Implant) -> Mesh:
    """Kept, read-only: an implant is measured again wherever it is moved."""
    mesh = join(*(part.mesh for part in implant.parts()))
    mesh.points.flags.writeable = mesh.triangles.flags.writeable = False
    return mesh


def _number(label: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, (bool, str)) or not math.isfinite(number):
        raise InputError(f"{label} of {value!r} is not a number")
    return number


def _plain(value: Any) -> Any:
    if isinstance(value, Implant):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
