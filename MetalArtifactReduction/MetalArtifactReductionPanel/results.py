"""Measures and exports results in Slicer's scene; nothing here needs the panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.evaluation.before_after import Measure
from MetalArtifactReductionLib.evaluation.outside_trace import outside_trace_text
from MetalArtifactReductionLib.evaluation.report import figure_text
from MetalArtifactReductionLib.jobs.queue import Job
from MetalArtifactReductionLib.mrml import (
    kept,
    results,
    results_of,
)
from MetalArtifactReductionLib.mrml.dicom import can_export, export_job
from MetalArtifactReductionLib.mrml.hierarchy import PREFIX, ROLE_ATTRIBUTE
from MetalArtifactReductionLib.mrml.kept import expected_error_hu, parameters_of
from MetalArtifactReductionLib.mrml.parts import metal_parts
from MetalArtifactReductionLib.mrml.results_report import report_job, update_regions
from MetalArtifactReductionLib.mrml.volumes import view_of

from .background import BackgroundJobs
from .choices import methods


class Results:
    """What can be done with a corrected volume node.

    :param jobs: where figures are measured.
    """

    def __init__(self, jobs: BackgroundJobs) -> None:
        self._jobs = jobs

    def knowsExpectedError(self, corrected: Any) -> bool:
        """Whether there is a map of the expected error of a result."""
        return kept.expected_error_of(slicer.mrmlScene, corrected) is not None

    def overlayText(self, scale: Any) -> str:
        """What the colours of a map mean, in a line; "" without a map.

        :param scale: of ``SceneViews.overlayScale``.
        """
        if scale is None:
            return ""
        node, hu = scale
        text = _("Changes: blue is {hu:.0f} HU darker, red as much brighter; clear within noise.")
        if node.GetAttribute(ROLE_ATTRIBUTE) == "expected-error":
            text = _("Expected error: blue is small, red is {hu:.0f} HU or more.")
        return str(text.format(hu=hu))

    #
    # Facts
    #

    def originalOf(self, corrected: Any) -> Any:
        """The CT that a result was made from."""
        return kept.original_of(corrected)

    def problem(self, corrected: Any) -> str:
        """Why nothing can be shown of a result, in one line; "" if it can."""
        try:
            kept.original_of(corrected)
        except InputError as error:
            return str(error)
        return ""

    def summary(self, corrected: Any) -> str:
        """What a correction did, as rich text; "" if that was not kept."""
        facts = results.facts_of(corrected)
        if not facts:
            return ""
        rows = (
            (_("Corrected slices"), "{slices_changed:.0f} / {slices:.0f}"),
            (_("Metal"), "{metal_cm3:.1f} cm³"),
            (_("Mean change outside metal"), "{mean_change_hu:.0f} HU"),
            (_("99 % of the changes are below"), "{p99_change_hu:.0f} HU"),
        )
        method = corrected.GetAttribute(PREFIX + "method") or ""
        label = methods()[method].label if method in methods() else method
        texts = [(_("Method"), label), *((name, value.format(**facts)) for name, value in rows)]
        parameters = parameters_of(corrected)
        strength = parameters.get("strength") or {}
        left = sum(share == 0 for share in strength.values())
        if left:
            text = _("{left} of {count} slices with metal: no streaks beyond noise")
            texts.append((_("Need no correction"), text.format(left=left, count=len(strength))))
        outside = outside_trace_text(parameters)
        if outside:
            texts.append((_("Changed outside the metal's rays"), outside))
        cells = "".join(f"<tr><td>{name}:&nbsp;</td><td>{value}</td></tr>" for name, value in texts)
        return f"<table>{cells}</table>"

    #
    # Figures
    #

    def measureAsync(self, corrected: Any, onEnd: Callable[[str], None] | None = None) -> Any:
        """Measure a result before and after, in a process of its own.

        :param onEnd: called with "" once the table is in the scene, or with the reason why not.
        """
        original, after, fraction = results.corrected_volumes(corrected, view_of)
        arrays = {"original": original.hu, "corrected": after.hu, "fraction": fraction}
        error = expected_error_hu(slicer.mrmlScene, corrected)
        if error is not None:
            arrays["expected_error"] = error

        def ended(job: Any) -> None:
            problem = job.error
            if corrected.GetScene() is not slicer.mrmlScene or self.problem(corrected):
                return  # removed meanwhile
            if job.done:
                measures = [Measure(**one) for one in job.values["measures"]]
                results.put_measures(slicer.mrmlScene, corrected, measures)
                self.updateRegions(corrected)
            if onEnd is not None:
                onEnd(problem)

        job = Job(
            "MetalArtifactReductionLib.jobs.correction:measure",
            {"ijk_to_ras": original.ijk_to_ras.tolist()},
            arrays,
            title=_("{name}: figures").format(name=corrected.GetName()),
            on_end=ended,
        )
        self._jobs.queue.queue.add(job)
        return self._jobs.started(job)

    def measures(self, corrected: Any) -> tuple[Any, ...]:
        """The figures of a result, as far as they were measured: ``Measure``."""
        table = results.table_of(slicer.mrmlScene, corrected)
        return results.measures_in(table) if table is not None else ()

    def measureRows(self, corrected: Any) -> list[list[str]]:
        """The figures of a result as texts: measure, before, after, unit."""
        return [
            [
                one.title,
                figure_text(one.before, one.unit),
                figure_text(one.after, one.unit),
                one.unit,
            ]
            for one in self.measures(corrected)
        ]

    def proposeLine(self, corrected: Any, into: Any = None) -> Any:
        """A markups line across the metal."""
        return results.propose_line(slicer.mrmlScene, corrected, into)

    def updateProfile(self, corrected: Any, lineNode: Any) -> Any:
        """Plot HU along a line before and after; returns the chart node."""
        return results.put_profile(slicer.mrmlScene, corrected, lineNode)

    def addRegion(self, corrected: Any, inView: Callable[[Any], Any]) -> Any:
        """A box to measure in, beside the largest part of the metal.

        :param inView: the nearest point, RAS in mm, that the user sees.
        """
        metal, original = kept.metal_of(corrected), kept.original_of(corrected)
        right, front, top = metal_parts(metal, original)[0].centre_ras
        place = inView((right, front - 40.0, top))
        return results.add_region(slicer.mrmlScene, corrected, place)

    def updateRegions(self, corrected: Any) -> None:
        """Measure the user's boxes again, if there are any."""
        if self.regions(corrected):
            update_regions(slicer.mrmlScene, corrected)

    def regions(self, corrected: Any) -> list[Any]:
        """The user's boxes."""
        return list(results_of(slicer.mrmlScene, kept.original_of(corrected), "region"))

    #
    # Files
    #

    def reportAsync(
        self, corrected: Any, path: str, lineNode: Any, onEnd: Callable[[Any], None]
    ) -> Any:
        """Write the report of a result, replacing a file that the user chose to replace.

        :param onEnd: called with the handle, whose ``nodes`` is the path.
        """
        facts = {
            _("Date"): date.today().isoformat(),
            _("Program"): f"3D Slicer {slicer.app.applicationVersion}",
        }
        job = report_job(slicer.mrmlScene, corrected, path, line_node=lineNode, facts=facts)
        return self._started(job, _("{name}: report"), corrected, onEnd)

    def exportProblem(self, corrected: Any) -> str:
        """Why a result cannot be written as DICOM, in one line; "" if it can."""
        return str(can_export(corrected))

    def exportAsync(self, corrected: Any, folder: str, onEnd: Callable[[Any], None]) -> Any:
        """Write a result as new DICOM series beside the original's, in a process of its own.

        :param folder: new folders are made in it. :param onEnd: called with the handle, whose
            ``nodes`` are the paths.
        :raises InputError: the CT did not come from DICOM. :raises OutputError: no such folder.
        """
        job = export_job(
            slicer.mrmlScene,
            corrected,
            folder,
            file_of_instance=slicer.dicomDatabase.fileForInstance,
        )
        return self._started(job, _("{name}: DICOM"), corrected, onEnd)

    def indexed(self, paths: Sequence[Any]) -> bool:
        """New series in Slicer's DICOM database, their files where they are; False without one."""
        database = getattr(slicer, "dicomDatabase", None)
        if not (database and database.isOpen):
            return False
        files = [
            str(file)
            for path in map(Path, paths)
            for file in (sorted(path.glob("*.dcm")) if path.is_dir() else [path])
        ]
        from ctk import ctkDICOMIndexer  # of a Slicer that has a DICOM database

        ctkDICOMIndexer().addListOfFiles(database, files, False)
        return True

    def _started(self, job: Job, title: str, corrected: Any, onEnd: Callable[[Any], None]) -> Any:
        job.title = title.format(name=corrected.GetName())
        return self._jobs.started(self._jobs.queue.write(job, onEnd))
