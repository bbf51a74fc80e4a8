"""Corrected volumes as new DICOM series beside the original, metal as a DICOM segmentation.

A derived series keeps what the source says of patient, study, geometry and acquisition, and says
for itself what was done to the values, by what, and to which images.
"""

from .export import (
    DicomOutputs,
    WrittenDicom,
    check_dicom_outputs,
    dicom_outputs_written,
    names_dicom,
    write_dicom_outputs,
)
from .provenance import Derivation
from .template import DicomTemplate, dicom_template, placement_by_values, template_from_files

__all__ = [
    "Derivation",
    "DicomOutputs",
    "DicomTemplate",
    "WrittenDicom",
    "check_dicom_outputs",
    "dicom_outputs_written",
    "dicom_template",
    "names_dicom",
    "placement_by_values",
    "template_from_files",
    "write_dicom_outputs",
]
