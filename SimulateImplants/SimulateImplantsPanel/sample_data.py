"""Phantoms among Slicer's sample data: made on this computer, nothing is downloaded."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _


def register_sample_data() -> None:
    """Add the phantoms to the Sample Data module; called once Slicer has started."""
    try:
        import SampleData
    except ImportError:  # Slicer built without the module
        return
    from pathlib import Path

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
            customDownloader=lambda source, which=which: _make(which),
        )


def _make(which: str) -> list[Any]:
    """Make a phantom: CT and bones."""
    from SimulateImplants import SimulateImplantsLogic

    def show(fraction: float, message: str) -> None:
        slicer.util.showStatusMessage(f"{message} {100 * fraction:.0f} %", 2000)
        slicer.app.processEvents()

    nodes = SimulateImplantsLogic().addSample(which, progress=show)
    return [nodes.ct, nodes.bone]
