"""Writes the parts of one correction: corrected series, change map, metal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MARError, OutputError
from ..progress import Cancel, Progress, check_cancelled, report
from .derived import CT_IMAGE, Reference, Series, derived_slice, instance_numbers
from .provenance import Derivation
from .template import DicomTemplate
from .values import Encoding, encoding_for

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..correction.result import CorrectionResult

_NUMBERS = 100  # the derived series of series 4 are 401, 402, 403
_LARGEST_NUMBER = 2**31 // _NUMBERS - 1
_ORDER = {"corrected": 1, "change": 2, "metal": 3}


class SeriesWriter:
    """Writes parts of one correction, each referring to those written before it."""

    def __init__(
        self,
        result: CorrectionResult,
        template: DicomTemplate,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        *,
        parts: int = 1,
    ) -> None:
        """Prepare; ``parts`` is how many are going to be written, for the progress."""
        self.result, self.template = result, template
        self.progress, self.cancel, self.parts = progress, cancel, parts
        self.derivation = Derivation(result.method, result.parameters)
        self.made = datetime.now(timezone.utc)
        self.frame_of_reference_uid = template.facts.frame_of_reference_uid or new_uid()
        self.done = 0
        self.corrected: list[Reference] = []

    @cached_property
    def hu(self) -> np.ndarray:
        """Corrected HU in the source's own slices, ``(slices, rows, cols)``."""
        return self.template.stored(self.result.corrected.hu, self.result.corrected)

    @cached_property
    def encoding(self) -> Encoding:
        """How the corrected series stores its values."""
        return self.template.encoding(self.hu)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about what could not be kept as it was."""
        notes = []
        if not self.template.facts.frame_of_reference_uid:
            notes.append(
                "the source has no FrameOfReferenceUID: the derived series has a new one, so some"
                " viewers will not link their slices"
            )
        if self.corrected and self.encoding.coarser:
            notes.append(
                "the corrected values span more than 16 bits: stored in steps of"
                f" {self.encoding.coarser:g} HU"
            )
        return tuple(notes)

    def write_corrected(self, folder: Path) -> None:
        """The corrected series into a new folder, one file a slice in slice order."""
        self._write_series(folder, self._series("corrected"), self.hu, self.encoding)

    def write_change(self, folder: Path) -> None:
        """The series of what was changed: the difference of the stored values, exact."""
        change = self.template.stored(self.result.change_hu, self.result.corrected)
        hu = np.empty(self.hu.shape, dtype=np.float32)
        for index, (corrected, changed) in enumerate(zip(self.hu, change, strict=True)):
            after = self.encoding.stored(corrected, index).astype(np.int32)
            before = self.encoding.stored(corrected - changed, index).astype(np.int32)
            hu[index] = (after - before) * self.encoding.rescale[index][0]
        rescale = [(slope, 0.0) for slope, _ in self.encoding.rescale]
        encoding = encoding_for(hu, rescale, signed=True)
        self._write_series(folder, self._series("change", change=True), hu, encoding)

    def write_metal(self, file: Path) -> None:
        """The metal as one DICOM segmentation that refers to the source images."""
        from .metal import metal_segmentation

        report(self.progress, self.done / self.parts, "writing the metal")
        fraction = self.template.stored(self.result.metal_fraction, self.result.corrected)
        with values_kept_secret(self.template.path):
            save(metal_segmentation(fraction, self.template, self._series("metal")), file)
        self.done += 1

    def _series(self, label: str, *, change: bool = False) -> Series:
        number = self.template.facts.series_number or 0
        if not 0 <= number <= _LARGEST_NUMBER:
            number = 0
        return Series(
            uid=new_uid(),
            number=number * _NUMBERS + _ORDER[label],
            label=f"MAR {self.derivation.method} {label}",
            frame_of_reference_uid=self.frame_of_reference_uid,
            made=self.made,
            derivation=self.derivation,
            change=change,
        )

    def _write_series(
        self, folder: Path, series: Series, hu: np.ndarray, encoding: Encoding
    ) -> None:
        folder.mkdir()
        facts = self.template.facts
        numbers = instance_numbers(h.get("InstanceNumber") for h in self.template.headers())
        for index, header in enumerate(self.template.headers()):
            check_cancelled(self.cancel)
            source = Reference(
                str(header.get("SOPClassUID", CT_IMAGE)),
                facts.sop_instance_uids[index],
                facts.series_uid,
                facts.frames[index] + 1 if facts.frames else None,
            )
            uid = new_uid()
            references = (
                (source, *self.corrected[index : index + 1]) if series.change else (source,)
            )
            stored = encoding.stored(hu[index], index)
            with values_kept_secret(self.template.files[index]):
                dataset = derived_slice(
                    header, stored, encoding, index, series, references, uid, numbers[index]
                )
                save(dataset, folder / f"{index + 1:04d}.dcm")
            if not series.change:
                self.corrected.append(Reference(CT_IMAGE, uid, series.uid))
            share = (self.done + (index + 1) / len(hu)) / self.parts
            report(self.progress, share, f"writing {series.label}, slice {index + 1} of {len(hu)}")
        self.done += 1


def new_uid() -> str:
    """A UID that nobody has used: derived from a random UUID (PS3.5 B.2)."""
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


def save(dataset: Dataset, file: Path) -> None:
    """Write one object as a DICOM file, explicit VR little endian, not compressed."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    dataset.save_as(file, enforce_file_format=True, implicit_vr=False, little_endian=True)


@contextmanager
def values_kept_secret(source: Path) -> Iterator[None]:
    """Turn whatever a faulty header makes pydicom raise into one line without its values.

    pydicom quotes whole elements in its errors, and they may identify the patient.

    :param source: the file whose header it is.
    :raises OutputError: names the tag only.
    """
    try:
        yield
    except MARError:
        raise
    except Exception as error:
        disk = _disk_error(error)
        if disk is not None:
            raise disk from None
        tag = re.search(r"\([0-9A-Fa-f]{4}, ?[0-9A-Fa-f]{4}\)", str(error))
        what = f"element {tag.group()}" if tag else "an element"
        raise OutputError(
            f"{source}: {what} of the header cannot be carried over ({type(error).__name__});"
            " repair or anonymise the source series, or write .nii.gz or .nrrd"
        ) from None


def _disk_error(error: BaseException | None) -> OSError | None:
    """What the disk said, where that and not the header is the cause.

    pydicom raises such errors anew, with the element that it was writing and without the number.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        error = error.__cause__ or error.__context__
    return None
