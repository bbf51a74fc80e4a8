"""What was done to the values, in words and codes that DICOM knows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import __version__

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MANUFACTURER = "The MetalArtifactReduction developers"
MODEL = "MetalArtifactReduction"
SHORT_TEXT = 1024
"""Characters that VR ST holds."""

# (value, scheme, meaning); PS3.16 CID 7202, 7203, 7005. No code for metal artifact reduction
# exists in CID 7203, which may be extended: the private scheme's name begins with 99.
SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")
SUBTRACTION = ("113062", "DCM", "Pixel by pixel subtraction")
METAL_ARTIFACT_REDUCTION = ("MAR", "99MAR", "Metal artifact reduction")
ACQUISITION_EQUIPMENT = ("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT = ("109102", "DCM", "Processing Equipment")


@dataclass(frozen=True)
class Derivation:
    """How a volume was made from its source; written into every image derived from it.

    :param method: name of the inpainter.
    :param parameters: everything needed to repeat the correction; plain values.
    :param version: of this program.
    """

    method: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    version: str = __version__

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the network's weights, or empty: found anywhere in the parameters."""
        for name, value in _leaves(self.parameters):
            if name.lower() in ("weights_sha256", "sha256") and isinstance(value, str):
                return value
        return ""

    def description(self) -> str:
        """DerivationDescription: at most 1024 ASCII characters.

        Parameters that are too long are cut, with the SHA-256 of their whole JSON text.
        """
        text = f"Metal artifact reduction, method {self.method}, {MODEL} {self.version}"
        if self.weights_sha256:
            text += f", weights SHA-256 {self.weights_sha256}"
        whole = json.dumps(_plain(self.parameters), sort_keys=True, separators=(",", ":"))
        if len(text) + len(whole) + 13 > SHORT_TEXT:
            digest = hashlib.sha256(whole.encode()).hexdigest()
            note = f"... (SHA-256 of all {digest})"
            whole = whole[: max(0, SHORT_TEXT - len(text) - 13 - len(note))] + note
        # A backslash would separate values, although ST has only one.
        return f"{text}, parameters {whole}".replace("\\", "/")[:SHORT_TEXT]


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, str(key))
    else:
        yield name, value


def _plain(value: Any) -> Any:
    """JSON values without folders: the path of a weights file may hold somebody's name."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return str(value).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def code_item(code: tuple[str, str, str]) -> Dataset:
    """One item of a code sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def describe_private_scheme(dataset: Dataset, code: tuple[str, str, str]) -> None:
    """Say whose the private coding scheme is (PS3.3 C.12.1, CodingSchemeIdentification)."""
    from pydicom.dataset import Dataset

    scheme = Dataset()
    scheme.CodingSchemeDesignator = code[1]
    scheme.CodingSchemeName = f"Private codes of {MODEL}"
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
    known = list(dataset.get("CodingSchemeIdentificationSequence") or [])
    if all(item.get("CodingSchemeDesignator") != code[1] for item in known):
        dataset.CodingSchemeIdentificationSequence = [*known, scheme]


EQUIPMENT = (
    "Manufacturer",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "InstitutionalDepartmentTypeCodeSequence",
    "StationName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "GantryID",
    "DeviceUID",
    "UDISequence",
    "SpatialResolution",
    "DateOfLastCalibration",
    "TimeOfLastCalibration",
    "DateOfManufacture",
    "DateOfInstallation",
)
"""Attributes of the General Equipment module: they belong to whoever made the image."""


def set_equipment(dataset: Dataset, derivation: Derivation) -> None:
    """Name this program as the maker; the scanner becomes contributing equipment.

    PS3.3 C.12.1.1.5: a post-processing application places its own identification within the
    equipment module and the acquisition equipment as an item in the contributing equipment.
    """
    from pydicom.dataset import Dataset

    earlier = list(dataset.get("ContributingEquipmentSequence") or [])
    acquired = "ORIGINAL" in (dataset.get("ImageType") or [])
    source = _equipment_item(dataset, ACQUISITION_EQUIPMENT if acquired else PROCESSING_EQUIPMENT)
    own = Dataset()
    own.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    own.ContributionDescription = f"Metal artifact reduction ({derivation.method})"
    for name in EQUIPMENT:
        if name in dataset:
            delattr(dataset, name)
    for target in (dataset, own):
        target.Manufacturer = MANUFACTURER
        target.ManufacturerModelName = MODEL
        target.SoftwareVersions = derivation.version
    dataset.ContributingEquipmentSequence = [*earlier, source, own]


def _equipment_item(dataset: Dataset, purpose: tuple[str, str, str]) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name in EQUIPMENT:
        if name in dataset and name not in ("GantryID", "DateOfManufacture", "DateOfInstallation"):
            item[name] = dataset[name]
    if not item.get("Manufacturer"):
        item.Manufacturer = "unknown"  # must not be empty in this sequence
    item.PurposeOfReferenceCodeSequence = [code_item(purpose)]
    return item


def derivation_codes(earlier: Sequence[Dataset], *codes: tuple[str, str, str]) -> list[Dataset]:
    """The codes of what was done to the source before, and of what was done now."""
    return [*earlier, *(code_item(code) for code in codes)]
