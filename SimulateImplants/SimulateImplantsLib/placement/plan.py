"""A placement as data: which implants, where, of which side, level and order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.schema import check_values, json_of

from ..implants import implant_from_dict
from ..implants.base import Implant
from .plan_schema import PlanRecord

FORMAT = 1


@dataclass(frozen=True)
class PlannedImplant:
    """One implant and its place.

    :param implant: ``{"kind": ..., parameter: value}`` (see ``implants.implant_from_dict``).
    :param matrix: ``(4, 4)``, implant frame to RAS.
    :param attributes: JSON values: "side", "level", "order", "construct", ...
    """

    implant: Mapping[str, Any]
    matrix: np.ndarray
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise InputError(f"placement of {self.implant.get('kind')}: a finite 4x4 is needed")
        turn = matrix[:3, :3]
        if not np.allclose(turn.T @ turn, np.eye(3), atol=1e-5) or np.linalg.det(turn) < 0:
            raise InputError(
                f"placement of {self.implant.get('kind')} is not rigid: remove scale and mirroring"
            )
        object.__setattr__(self, "matrix", matrix)

    @property
    def kind(self) -> str:
        """The implant's family."""
        return str(self.implant.get("kind"))

    def make(self) -> Implant:
        """The implant itself."""
        return implant_from_dict(self.implant)

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "implant": _plain(dict(self.implant)),
            "matrix": [[float(v) for v in row] for row in self.matrix],
            "attributes": _plain(dict(self.attributes)),
        }


@dataclass(frozen=True)
class PlacementPlan:
    """A set of placed implants that can be made again from JSON.

    :param seed: of the sampler; None for a proposal.
    :param description: what it is, for people.
    :param parameters: what the sampler drew.
    :param shapes: random metal that is no implant (see ``random_shapes``).
    """

    implants: tuple[PlannedImplant, ...]
    seed: int | None = None
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    shapes: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "format": FORMAT,
            "description": self.description,
            "seed": self.seed,
            "parameters": _plain(dict(self.parameters)),
            "warnings": list(self.warnings),
            "implants": [item.to_dict() for item in self.implants],
            "shapes": [_plain(dict(shape)) for shape in self.shapes],
        }

    def to_json(self) -> str:
        """The plan as text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PlacementPlan:
        """The inverse of :meth:`to_dict`.

        :raises InputError: not a plan, or of a later format.
        """
        if not isinstance(data, Mapping) or "implants" not in data:
            raise InputError("not a placement plan: it has no list of implants")
        check_values(PlanRecord, dict(data), "placement plan")
        if data.get("format", 0) > FORMAT:
            raise InputError(f"placement plan of format {data['format']}: update the extension")
        return cls(
            implants=tuple(
                PlannedImplant(
                    dict(item["implant"]),
                    np.array(item["matrix"], float),
                    dict(item.get("attributes", {})),
                )
                for item in data["implants"]
            ),
            seed=data.get("seed"),
            description=data.get("description", ""),
            parameters=dict(data.get("parameters", {})),
            warnings=tuple(data.get("warnings", ())),
            shapes=tuple(dict(shape) for shape in data.get("shapes", ())),
        )

    @classmethod
    def from_json(cls, text: str) -> PlacementPlan:
        """The inverse of :meth:`to_json`."""
        try:
            data = json_of(text)
        except ValueError as error:
            raise InputError(f"placement plan is not JSON: {error}") from None
        return cls.from_dict(data)


def join_plans(plans: Sequence[PlacementPlan], description: str = "") -> PlacementPlan:
    """All implants of several plans in one."""
    return PlacementPlan(
        implants=tuple(item for plan in plans for item in plan.implants),
        seed=plans[0].seed if plans else None,
        description=description or " + ".join(p.description for p in plans if p.description),
        parameters={str(i): dict(plan.parameters) for i, plan in enumerate(plans)},
        warnings=tuple(w for plan in plans for w in plan.warnings),
        shapes=tuple(shape for plan in plans for shape in plan.shapes),
    )


def _plain(value: Any) -> Any:
    """JSON types of numpy's and tuples."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
