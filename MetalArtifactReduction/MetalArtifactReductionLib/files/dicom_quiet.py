"""Odd but readable headers are common; their warnings are no use, and may name the patient."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("pydicom", "highdicom")


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """No warning and no log line of a DICOM library gets out of the block.

    Both quote the values that they stumble over: a PatientName of a wrong form, for example.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
