"""Where implants go: measures of bones, proposals, grades, constructs and samplers."""

from __future__ import annotations

from .clicks import segment_vertebra, segment_vertebrae
from .collision import Collision, collisions
from .geometry import axis_placement
from .hip.measure import HipModel, measure_hip
from .hip.plan import nail_plan, prosthesis_plan
from .plan import PlacementPlan, PlannedImplant, join_plans
from .random_shapes import load_masks, sample_random_plan, shape_fractions
from .samplers import (
    HipSampling,
    SpineSampling,
    sample_hip_plan,
    sample_plans,
    sample_spine_plan,
)
from .spine.construct import along_the_spine, planned_screw, rod_construct
from .spine.grading import ScrewGrade, gertzbein_robbins, grade_screw
from .spine.levels import by_level, hip_masks, level_of, vertebra_masks
from .spine.pedicle import pedicle_trajectory, vertebra_field
from .spine.propose import (
    SpineProposal,
    VertebraModel,
    propose_screws,
    propose_screws_from_clicks,
    spine_plan,
)
from .spine.sizes import ScrewSizes
from .spine.trajectory import PedicleTrajectory, trajectory_along
from .spine.vertebra import VertebraFrame, vertebra_frame

__all__ = [
    "Collision",
    "HipModel",
    "HipSampling",
    "PedicleTrajectory",
    "PlacementPlan",
    "PlannedImplant",
    "ScrewGrade",
    "ScrewSizes",
    "SpineProposal",
    "SpineSampling",
    "VertebraFrame",
    "VertebraModel",
    "along_the_spine",
    "axis_placement",
    "by_level",
    "collisions",
    "gertzbein_robbins",
    "grade_screw",
    "hip_masks",
    "join_plans",
    "level_of",
    "load_masks",
    "measure_hip",
    "nail_plan",
    "pedicle_trajectory",
    "planned_screw",
    "propose_screws",
    "propose_screws_from_clicks",
    "prosthesis_plan",
    "rod_construct",
    "sample_hip_plan",
    "sample_plans",
    "sample_random_plan",
    "sample_spine_plan",
    "segment_vertebra",
    "segment_vertebrae",
    "shape_fractions",
    "spine_plan",
    "trajectory_along",
    "vertebra_field",
    "vertebra_frame",
    "vertebra_masks",
]
