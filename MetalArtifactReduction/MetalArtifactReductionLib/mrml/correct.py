"""The main job on a scene: a CT volume node in, result nodes beside it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..correction.options import CorrectionOptions
from ..errors import Cancelled, InputError
from ..evaluation.report_pictures import shown_changes
from ..files.checks import check_is_ct
from ..progress import Cancel, Progress
from ..volume import CTVolume, VolumeSource
from .display import (
    apply_window,
    show_change,
    show_expected_error,
    show_in_slice_views,
)
from .hierarchy import (
    CORRECTED_REFERENCE,
    METAL_REFERENCE,
    PREFIX,
    mark_result,
    place_results,
)
from .results import put_measures
from .segmentations import (
    add_surface,
    fraction_from_node,
    node_from_fraction,
    segmentation_from_fraction,
)
from .transaction import all_of, all_or_none
from .volumes import node_from_volume, view_of, volume_from_node, voxel_array

if TYPE_CHECKING:
    from ..correction.result import CorrectionResult
    from ..evaluation.before_after import Measure
    from ..metal import CleanUpParameters, MetalSegmentation

OVERLAY_OPACITY = 0.5
_TITLES = {"corrected": "{method}", "change": "Change {method}", "expected-error": "Error {method}"}
"""Before the CT's name: the Data tree shows some twenty letters."""


@dataclass(frozen=True)
class CorrectedNodes:
    """What a correction added to the scene.

    :param corrected: scalar volume node, HU.
    :param change_map: scalar volume node, corrected minus input in HU.
    :param metal: the metal that was used: a new segmentation node, or the one that was given.
    :param fraction: scalar volume node with the metal fraction, if asked for.
    :param folder: subject-hierarchy item that holds the new nodes.
    :param result: facts of the correction itself; its arrays are the nodes' own.
    :param expected_error: scalar volume node, expected absolute error in HU; None for methods that
        do not know it.
    """

    corrected: Any
    change_map: Any
    metal: Any
    fraction: Any
    folder: int
    result: CorrectionResult
    expected_error: Any = None

    def facts(self) -> dict[str, float]:
        """:meth:`CorrectionResult.facts`."""
        return self.result.facts()


def propose_metal(
    scene: Any,
    volume_node: Any,
    *,
    threshold_hu: float | None = None,
    method: str = "threshold",
    clean_up: CleanUpParameters | None = None,
    into: Any = None,
) -> tuple[Any, MetalSegmentation]:
    """Find the metal in a volume node and show it as a segmentation beside it.

    :param threshold_hu: where metal begins; from the HU by ``method`` if None.
    :param method: see :func:`MetalArtifactReductionLib.metal.segment_metal`.
    :param clean_up: what to leave out, and what the user says of single parts.
    :param into: an earlier proposal to replace, instead of one more node.
    :returns: the segmentation node, and what was found.
    :raises InputError: the volume cannot be used, or no metal was found; nothing is added then.
    """
    from ..metal import segment_metal

    volume = ct_from_node(scene, volume_node)
    found = segment_metal(volume, method, threshold_hu=threshold_hu, clean_up=clean_up)
    return all_of(proposal_in_steps(scene, volume_node, volume, found, into)), found


def proposal_in_steps(
    scene: Any, volume_node: Any, volume: CTVolume, found: MetalSegmentation, into: Any
) -> Generator[None, None, Any]:
    """Show metal that was found in a volume node as a segmentation, wherever it was found.

    :param volume: what :func:`ct_from_node` gave for ``volume_node``.
    :param into: an earlier proposal to replace, instead of one more node; None for that.
    :returns: the segmentation node.
    """
    name = f"Metal {volume_node.GetName()}"
    with all_or_none(scene) as added:
        node = segmentation_from_fraction(
            scene, found.fraction, volume, volume_node, name, into=into, surface_step=0
        )
        if into is None:
            added(node)
        yield
        add_surface(node)
        yield
        mark_result(node, "metal", volume_node, attributes={"threshold_hu": found.threshold_hu})
        place_results(scene, volume_node, [node], _folder_name(volume_node))
    return node


def correct_node(
    scene: Any,
    volume_node: Any,
    metal_segmentation: Any = None,
    method: str = "",
    *,
    options: CorrectionOptions | None = None,
    keep_fraction: bool = False,
    show: bool = True,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    **changes: Any,
) -> CorrectedNodes:
    """Reduce the metal artifacts of a volume node.

    The input node is never modified. The new nodes lie under the same parent transform, refer to
    the input by node reference, and appear all together or, on an error or cancel, not at all.

    :param scene: the ``vtkMRMLScene`` of ``volume_node``.
    :param volume_node: the CT, ``vtkMRMLScalarVolumeNode``.
    :param metal_segmentation: segmentation node of the metal, labelmap, or volume of metal
        fractions; found from the HU if None.
    :param method: a method's name or a file of weights, instead of that of the options.
    :param options: how it is corrected; the defaults on the fastest device if None.
    :param keep_fraction: also add the metal fraction as a volume node.
    :param show: show the corrected volume and the change map in the slice views.
    :param changes: single options (``batch_slices=1``, ...) that go before those of ``options``.
    :raises InputError: the volume or the metal cannot be used.
    :raises Cancelled: ``cancel`` said so, or the volume left the scene in the meantime.
    """
    from ..correction import correct_volume

    volume = ct_from_node(scene, volume_node)
    fraction = None
    if metal_segmentation is not None:
        fraction = fraction_from_node(metal_segmentation, volume_node)
    result = correct_volume(
        volume,
        fraction,
        options=chosen_options(method, options, changes),
        progress=progress,
        cancel=cancel,
    )
    # A callback may have let the user delete nodes or close the scene while this was computing.
    if any(
        node is not None and node.GetScene() is not scene
        for node in (volume_node, metal_segmentation)
    ):
        raise Cancelled("the volume or its metal was removed from the scene; nothing was added")
    return add_results(
        scene,
        volume_node,
        result,
        metal=metal_segmentation,
        keep_fraction=keep_fraction,
        show=show,
    )


def add_results(
    scene: Any,
    volume_node: Any,
    result: CorrectionResult,
    *,
    metal: Any = None,
    keep_fraction: bool = False,
    show: bool = True,
) -> CorrectedNodes:
    """Turn a finished correction of a volume node into nodes, wherever it was computed.

    See :func:`correct_node` for the parameters. Method, parameters and facts of the correction are
    kept as attributes of the nodes, the latter two as JSON.
    """
    steps = results_in_steps(
        scene, volume_node, result, metal=metal, keep_fraction=keep_fraction, show=show
    )
    nodes: CorrectedNodes = all_of(steps)
    return nodes


def results_in_steps(
    scene: Any,
    volume_node: Any,
    result: CorrectionResult,
    *,
    metal: Any,
    keep_fraction: bool,
    show: bool,
    facts: Mapping[str, float] | None = None,
    shown: Mapping[str, float] | None = None,
    measures: Sequence[Measure] = (),
) -> Generator[None, None, CorrectedNodes]:
    """:func:`add_results` with pauses, in which a user interface answers.

    :param facts, shown, measures: of the result, of ``evaluation.report_pictures.shown_changes``
        and for the table, where they are known already.
    """
    name, method = volume_node.GetName(), result.method
    fraction, grid = result.metal_fraction, result.corrected
    attributes = {"method": method, "parameters": _as_text(result.parameters)}
    with all_or_none(scene) as added:

        def add(hu: np.ndarray, role: str, references: Mapping[str, Any]) -> Any:
            title = f"{_TITLES[role].format(method=method.upper())} {name}"
            node = added(node_from_volume(scene, grid.with_hu(hu), title, like=volume_node))
            mark_result(node, role, volume_node, references=references, attributes=attributes)
            return node

        if metal is None:
            title = f"Metal {name}"
            metal = added(segmentation_from_fraction(scene, fraction, grid, volume_node, title))
            mark_result(metal, "metal", volume_node, attributes=attributes)
            yield
        references = {METAL_REFERENCE: metal}
        corrected = add(result.corrected.hu, "corrected", references)
        yield
        references[CORRECTED_REFERENCE] = corrected
        change = add(result.change_hu, "change", references)
        yield
        error = share = None
        if result.expected_error_hu is not None:
            error = add(result.expected_error_hu, "expected-error", references)
            yield
            show_expected_error(error)
        if keep_fraction:
            title = f"Metal fraction {name}"
            share = added(node_from_fraction(scene, fraction, grid, title, like=volume_node))
            mark_result(share, "fraction", volume_node, attributes=attributes)
        apply_window(corrected, "soft-tissue")
        show_change(change, **(shown or shown_changes(voxel_array(volume_node), result.change_hu)))
        yield
        if show:
            show_in_slice_views(scene, corrected, change, foreground_opacity=OVERLAY_OPACITY)
        folder = place_results(scene, volume_node, added.nodes, _folder_name(volume_node))
        corrected.SetAttribute(PREFIX + "facts", _as_text(facts or result.facts()))
        yield
        if measures:
            added(put_measures(scene, corrected, measures))
    held = _of_nodes(result, corrected, change, error)
    return CorrectedNodes(corrected, change, metal, share, folder, held, error)


def _as_text(values: Mapping[str, object]) -> str:
    return json.dumps(dict(values), default=str, sort_keys=True)


def _of_nodes(
    result: CorrectionResult, corrected: Any, change: Any, error: Any
) -> CorrectionResult:
    """The same with the nodes' own voxels: nothing is kept twice."""
    return replace(
        result,
        corrected=replace(result.corrected, hu=view_of(corrected).hu),
        change_hu=view_of(change).hu,
        expected_error_hu=None if error is None else view_of(error).hu,
    )


def chosen_options(
    method: str, options: CorrectionOptions | None, changes: Mapping[str, Any]
) -> CorrectionOptions:
    """The options of a correction on a scene, see :func:`correct_node`."""
    named = {"method": method} if method else {}
    return (options or CorrectionOptions(device="auto")).changed(**named, **changes)


def ct_from_node(scene: Any, volume_node: Any) -> CTVolume:
    """The node's volume, once it is sure to be CT; errors name the node."""
    ct_view(scene, volume_node)
    return volume_from_node(volume_node)


def ct_view(scene: Any, volume_node: Any) -> CTVolume:
    """As :func:`ct_from_node` without a copy: of the node's own type, not to be written to."""
    volume = view_of(volume_node)
    name = volume_node.GetName()
    if volume_node.GetScene() is not scene:
        raise InputError(f"volume '{name}' is not in this scene: add it first")
    check_is_ct(replace(volume, source=VolumeSource(path=Path(name))))
    return volume


def _folder_name(volume_node: Any) -> str:
    return f"MAR {volume_node.GetName()}"
