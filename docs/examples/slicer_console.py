"""Slicer's Python console: correct the loaded volume "CT" and save a picture of it.

Load a CT, name it CT, then paste this, or run: exec(open("slicer_console.py").read())
"""

from pathlib import Path

import numpy as np
import slicer
import vtk

from MetalArtifactReduction import MetalArtifactReductionLogic
from MetalArtifactReductionLib.evaluation.report_pictures import grey_picture, png_bytes
from MetalArtifactReductionLib.files.pictures import PatientView

logic = MetalArtifactReductionLogic()
ct = slicer.util.getNode("CT")
nodes = logic.correct(ct, method="nmar")  # waits; logic.correctAsync returns at once
print(nodes.corrected.GetName(), nodes.change_map.GetName(), nodes.metal.GetName())

# Arrays are (slice, row, column), HU.
before = slicer.util.arrayFromVolume(ct)
after = slicer.util.arrayFromVolume(nodes.corrected)
change = np.abs(after.astype(float) - before).sum(axis=(1, 2))
k = int(change.argmax())
print(f"slice {k} of {len(before)} changed most")

to_ras = vtk.vtkMatrix4x4()
ct.GetIJKToRASMatrix(to_ras)
view = PatientView.of(slicer.util.arrayFromVTKMatrix(to_ras))  # the patient's right on the left
shown = [grey_picture(view(image[k]), 40.0, 400.0, view.pixel_mm) for image in (before, after)]
picture = Path(slicer.app.temporaryPath) / "slicer_console.png"
picture.write_bytes(png_bytes(np.hstack(shown)))
print(picture)
