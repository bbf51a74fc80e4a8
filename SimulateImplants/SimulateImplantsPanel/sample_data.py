"""Phantoms among Slicer's sample data: made on this computer, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _


def register_sample_data(make: Callable[[str, Any], list[Any]]) -> None:
    """Add the phantoms to the Sample Data module; called once Slicer has started.

    :param make: from a phantom's name and a progress callback to the nodes.
    """
    try:
        import SampleData
    except ImportError:  # Slicer built without the module
        return
    icon = Path(__file__).parents[1] / "Resources" / "Icons" / "SimulateImplants.png"
    for which, name in (
        ("spine", _("Lumbar spine phantom")),
        ("pelvis", _("Pelvis phantom")),
    ):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="SimulateImplants",
            sampleName=name,
            uris=[],
            fileNames=[],
            thumbnailFileName=str(icon),
            customDownloader=lambda _source, which=which: make(which, _show),
        )


def _show(fraction: float, message: str) -> None:
    slicer.util.showStatusMessage(f"{message} {100 * fraction:.0f} %", 2000)
    slicer.app.processEvents()
