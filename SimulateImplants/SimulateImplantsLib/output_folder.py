"""A new folder of results appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MetalArtifactReductionLib.errors import OutputError


def check_new_folder(path: Path) -> None:
    """Raise where :func:`new_folder` could not make it; to be called before long work.

    :raises OutputError: a file, not empty, no permission, or no folder to make it in.
    """
    if path.is_dir():
        if any(path.iterdir()):
            raise OutputError(f"{path}: the folder is not empty; give the name of a new one")
    elif os.path.lexists(path):
        raise OutputError(f"{path}: is a file; give the name of a new folder")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"{path}: the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: no permission to write in {parent}; choose another folder")


@contextmanager
def new_folder(path: Path, prefix: str = ".mar-") -> Iterator[Path]:
    """Fill a hidden folder beside ``path`` that becomes ``path`` once the block ends well.

    :param prefix: of the hidden folder's name, so that leftovers of a killed run can be found.
    :returns: the folder to write to inside the ``with`` block.
    :raises OutputError: as :func:`check_new_folder`, or the disk is full; nothing is left behind.
    """
    check_new_folder(path)
    target = path.absolute()
    hidden: Path | None = None
    try:
        hidden = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        # One level down, since mkdtemp's own folder is closed to everybody else.
        made = hidden / target.name
        made.mkdir()
        yield made
        if target.is_dir():
            target.rmdir()  # empty, as was checked; Windows does not replace folders
        made.rename(target)
    except OutputError as error:
        text = str(error)
        if hidden is not None:
            text = text.replace(str(hidden / target.name), str(path))
        raise OutputError(text) from None
    except PermissionError:
        raise OutputError(f"{path}: no permission to write there; choose another folder") from None
    except OSError as error:
        raise OutputError(
            f"{path}: could not be written ({error.strerror or error});"
            " free space or choose another disk"
        ) from None
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)
