"""The module's logic: Slicer's scene, views and mouse modes in front of the library."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .simulation_logic import SimulationLogic
from .view_logic import ViewLogic


class SimulateImplantsLogicBase(SimulationLogic, ViewLogic, ScriptedLoadableModuleLogic):
    """Everything but the parameter node, which the module file adds."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._link = None
        self._setUpJobs()

    #
    # Getting ready
    #

    def ensureDependencies(self) -> None:
        """Install the Python packages that are missing, after asking; when work starts only."""
        import MetalArtifactReductionPanel
        from MetalArtifactReductionPanel.installation import ensure_dependencies

        ensure_dependencies(Path(MetalArtifactReductionPanel.__file__).parents[1] / "Resources")

    def canWork(self) -> bool:
        """Whether the packages are there that editing implants needs."""
        try:
            import SimulateImplantsLib.mrml  # noqa: F401
        except ImportError as error:
            logging.debug("Implants cannot be edited yet: %s", error)
            return False
        return True

    def follow(self, onChange: Callable[[Any], None] | None = None) -> bool:
        """Keep implants, lines and rods of Slicer's scene together from now on.

        :param onChange: see ``ImplantLink``.
        :returns: False while packages are missing.
        """
        if not self.canWork():
            return False
        if self._link is None:
            from SimulateImplantsLib.mrml import ImplantLink

            self._link = ImplantLink(slicer.mrmlScene, onChange)
        return True

    def stopFollowing(self) -> None:
        """Leave the scene alone."""
        if self._link is not None:
            self._link.stop()
            self._link = None

    def inputProblem(self, volumeNode: Any) -> str:
        """Why a volume cannot be used, in one line; "" if nothing is known against it."""
        from MetalArtifactReductionLib.errors import InputError
        from MetalArtifactReductionLib.mrml import require_scalar_volume

        try:
            require_scalar_volume(volumeNode)
        except InputError as error:
            return str(error)
        return ""

    def addSample(self, which: str, progress: Any = None) -> Any:
        """A procedural patient, ``SampleNodes``: ct and bone.

        :param which: "spine" or "pelvis".
        """
        self.ensureDependencies()
        from SimulateImplantsLib.mrml import add_sample

        nodes = add_sample(slicer.mrmlScene, which, progress=progress)
        slicer.util.setSliceViewerLayers(background=nodes.ct, fit=True)
        return nodes

    #
    # Bone
    #

    def boneNames(self, bone: Any) -> list[str]:
        """Names of a segmentation's segments."""
        if bone is None:
            return []
        segments = bone.GetSegmentation()
        return [segments.GetNthSegment(i).GetName() for i in range(segments.GetNumberOfSegments())]

    def segmentBone(self, ct: Any, thresholdHu: float, earlier: Any = None) -> Any:
        """Bone by threshold as a segmentation node.

        :param earlier: replaced if it came from a threshold too; anything else is left alone.
        """
        from MetalArtifactReductionLib.mrml import results_of
        from SimulateImplantsLib.mrml import segment_bone

        into = earlier if earlier in results_of(slicer.mrmlScene, ct, "bone") else None
        return segment_bone(slicer.mrmlScene, ct, threshold_hu=thresholdHu, into=into)

    def placePoints(self, points: Any = None) -> Any:
        """Let the user click points until Escape; returns the list of points."""
        if points is None:
            points = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLMarkupsFiducialNode", _("Vertebrae or hips")
            )
            points.CreateDefaultDisplayNodes()
        self._startPlacing(points, persistent=True)
        return points

    def splitVertebrae(self, ct: Any, bone: Any, points: Any, lowest: str, **progress: Any) -> Any:
        """Plain bone into vertebrae at clicked points: segmentation node and warnings."""
        from SimulateImplantsLib.mrml import bone_labels, clicks_of, split_vertebrae

        return split_vertebrae(
            slicer.mrmlScene,
            ct,
            bone_labels(bone, ct),
            clicks_of(points, ct),
            lowest=lowest,
            **progress,
        )

    #
    # Implants
    #

    def implants(self) -> list[Any]:
        """The implants in the scene, ``SceneImplant``."""
        from SimulateImplantsLib.mrml import implants_of

        return implants_of(slicer.mrmlScene)

    def implantsById(self, nodeIds: Sequence[str]) -> list[Any]:
        """Those with these model nodes, in this order."""
        if not nodeIds:
            return []
        byId = {one.model.GetID(): one for one in self.implants()}
        return [byId[nodeId] for nodeId in nodeIds if nodeId in byId]

    def implantOf(self, one: Any) -> Any:
        """What an implant is, or None where the scene's description is damaged."""
        from MetalArtifactReductionLib.errors import InputError

        try:
            return one.implant
        except InputError as error:
            logging.warning(str(error))
            return None

    def ranges(self, implant: Any) -> dict[str, Any]:
        """Limits of an implant's parameters."""
        if implant is None:
            return {}
        from SimulateImplantsLib.implants import parameter_ranges

        return parameter_ranges(implant.kind)

    def sizeText(self, one: Any) -> str:
        """Its size in words; "" where it cannot be told."""
        from SimulateImplantsLib.mrml import size_text

        return size_text(one) if self.implantOf(one) is not None else ""

    def presetNames(self, kind: str) -> list[str]:
        """Sizes of a family."""
        from SimulateImplantsLib.implants import presets

        return [preset.name for preset in presets(kind)]

    def propose(
        self,
        ct: Any,
        bone: Any,
        what: str = "spine",
        *,
        points: Any = None,
        sides: Sequence[str] = ("left", "right"),
        levels: str = "",
        rods: bool = True,
        rodDiameterMm: float = 5.5,
        variant: int = 0,
        **progress: Any,
    ) -> Any:
        """Fit implants to the bone and add them, ``ProposedNodes``.

        :param bone: segmentation; segments named as TotalSegmentator names them are recognised.
        :param what: "spine", "total-hip", "short-nail" or "long-nail".
        :param points: for hips in plain bone: one point in each femoral head.
        :param levels: such as "L3 L4 L5"; empty for all.
        :param variant: 0 for what fits best, or the number of a plausible variant.
        """
        self.ensureDependencies()
        from SimulateImplantsLib.mrml import bone_labels, clicks_of, propose
        from SimulateImplantsLib.placement.procedures import ProposalOptions
        from SimulateImplantsLib.placement.spine.levels import parse_levels

        clicked = points is not None and points.GetNumberOfDefinedControlPoints() > 0
        return propose(
            slicer.mrmlScene,
            ct,
            bone_labels(bone, ct),
            what,
            levels=parse_levels(levels),
            clicks=clicks_of(points, ct) if clicked else None,
            options=ProposalOptions(sides, rods, rodDiameterMm),
            variant=variant,
            **progress,
        )

    def addImplant(self, ct: Any, kind: str, preset: str = "") -> Any:
        """One implant in the middle of the slice views; screws get their line."""
        from SimulateImplantsLib.mrml import add_implant, add_line, placement_at, set_matrix
        from SimulateImplantsLib.mrml.lines import can_have_line

        implant = self._fromPreset(kind, preset)
        one = add_implant(slicer.mrmlScene, implant, like=ct)
        set_matrix(one, placement_at(implant, self._viewCentre()))
        if can_have_line(one.implant):
            add_line(one)
        return one

    def drawLine(self, ct: Any, kind: str, preset: str = "") -> Any:
        """Let the user click entry and target of a screw; it appears with the second click."""
        from SimulateImplantsLib.mrml import begin_line

        line = begin_line(slicer.mrmlScene, self._fromPreset(kind, preset), like=ct)
        self._startPlacing(line, persistent=False)
        return line

    def addSurface(self, ct: Any, modelNode: Any, material: str) -> Any:
        """A model node of the user's as an implant; the node itself is left alone.

        :raises InputError: the surface is open, intersects itself, or is evidently not in mm.
        """
        import vtk

        from SimulateImplantsLib.implants.user_mesh import UserMesh
        from SimulateImplantsLib.mrml import add_implant, set_matrix

        implant = UserMesh.from_polydata(modelNode.GetPolyData(), material)
        one = add_implant(slicer.mrmlScene, implant, name=modelNode.GetName(), like=ct)
        toWorld = vtk.vtkMatrix4x4()
        if modelNode.GetParentTransformNode() is not None:
            modelNode.GetParentTransformNode().GetMatrixTransformToWorld(toWorld)
        set_matrix(one, slicer.util.arrayFromVTKMatrix(toWorld))
        return one

    def duplicate(self, one: Any) -> Any:
        """A copy beside the original."""
        from SimulateImplantsLib.mrml import duplicate

        return duplicate(one)

    def remove(self, implants: Sequence[Any]) -> None:
        """Take implants out of the scene with everything that belongs to them."""
        from SimulateImplantsLib.mrml import remove

        for one in implants:
            remove(one)

    def addRod(self, ct: Any, screws: Sequence[Any], diameterMm: float = 5.5) -> Any:
        """A rod through the heads of screws; it follows them."""
        from SimulateImplantsLib.mrml import add_rod

        return add_rod(slicer.mrmlScene, screws, diameter_mm=diameterMm, like=ct)

    def addCrossLink(self, ct: Any, rods: Sequence[Any]) -> Any:
        """A cross-link between two rods; it follows them."""
        from SimulateImplantsLib.mrml import add_cross_link

        return add_cross_link(slicer.mrmlScene, *rods, like=ct)

    def edit(self, one: Any, **changes: Any) -> None:
        """Change parameters of an implant; line and rods follow."""
        from SimulateImplantsLib.mrml import edit_implant

        edit_implant(one, **changes)

    def fitToBone(self, ct: Any, bone: Any, one: Any) -> tuple[str, ...]:
        """Largest diameter and length along a screw's own axis; returns warnings."""
        from SimulateImplantsLib.mrml import bone_labels, fit_screw

        return tuple(fit_screw(one, ct, bone_labels(bone, ct)).warnings)

    def showHandlesOf(self, implants: Sequence[Any]) -> None:
        """Handles and lines of these implants only."""
        from SimulateImplantsLib.mrml import show_handles_of

        show_handles_of(slicer.mrmlScene, implants)

    def measure(self, ct: Any, bone: Any = None, **progress: Any) -> list[Any]:
        """Quality of the placement, one ``QualityRow`` an implant; also as a table node."""
        from SimulateImplantsLib.mrml import bone_labels, placement_quality, quality_table

        labels = bone_labels(bone, ct) if bone is not None else None
        rows = placement_quality(slicer.mrmlScene, ct, labels, **progress)
        quality_table(slicer.mrmlScene, rows, into=self._qualityTable())
        return rows

    def _qualityTable(self) -> Any:
        from SimulateImplantsLib.mrml.quality import TABLE_ATTRIBUTE

        tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
        return next((node for node in tables if node.GetAttribute(TABLE_ATTRIBUTE)), None)

    def _fromPreset(self, kind: str, preset: str) -> Any:
        from SimulateImplantsLib.implants import implant_from_dict

        return implant_from_dict({"kind": kind} | ({"preset": preset} if preset else {}))
