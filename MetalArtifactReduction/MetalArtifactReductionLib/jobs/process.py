"""What a job must not leave behind: a process and a folder of temporary files."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ..errors import OutputError
from .child_process import kill_tree
from .task import CANCEL, NO_MEMORY, ExitCode, disk_full

CLOSING_GRACE_S = 1.0
_LOG_TAIL = 200_000


class JobProcess:
    """What a job must not leave behind: a process and a folder.

    :param closing_grace_s: how long the process may take to end by itself.
    """

    def __init__(self, folder: Path, closing_grace_s: float = CLOSING_GRACE_S) -> None:
        self.folder, self.closing_grace_s = folder, closing_grace_s
        self.process: subprocess.Popen[bytes] | None = None

    def ask_to_stop(self) -> None:
        """By file and by line: whichever gets through."""
        with contextlib.suppress(OSError):  # on a full disk; the line is heard
            (self.folder / CANCEL).touch()
        self._say(b"cancel\n")

    def sweep(self) -> None:
        """After the end: close our side of the pipe, and end what the process left running."""
        if self.process is not None:
            self._say(b"")
            if self.process.poll() != ExitCode.DONE:
                kill_tree(self.process)

    def _say(self, text: bytes) -> None:
        stdin = self.process.stdin if self.process is not None else None
        if stdin is None or stdin.closed:
            return
        try:
            stdin.write(text)
            stdin.close()
        except OSError:
            pass  # it has ended


def clean_up(own: JobProcess) -> None:
    """No process, no folder: whatever state the job was in."""
    process = own.process
    if process is not None and process.poll() is None:
        own.ask_to_stop()
        try:
            process.wait(own.closing_grace_s)
        except subprocess.TimeoutExpired:
            kill_tree(process)
    own.sweep()
    for _ in range(5):
        shutil.rmtree(own.folder, ignore_errors=True)
        if not own.folder.exists():
            break
        time.sleep(0.1)  # Windows lets go of a process's files a little after its end


def private_folder(parent: Path | None) -> Path:
    """A new folder that nobody else may look into.

    :raises OutputError: none can be made there.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="mar-job-", dir=parent)).absolute()
    except OSError as error:
        raise OutputError(
            f"{parent or 'temporary files'}: no folder can be made there "
            f"({error.strerror or error}); set the environment variable TMPDIR (on Windows TEMP)"
        ) from None


def reason_of(code: int, folder: Path) -> str:
    """In one line, why a process ended without a last word."""
    if code == ExitCode.NO_MEMORY:
        return NO_MEMORY
    if code == ExitCode.DISK_FULL:
        return disk_full(folder)
    if code == -9:
        return f"its process was killed (signal 9), as systems do when memory runs out: {NO_MEMORY}"
    if code < 0:
        return f"its process crashed (signal {-code}); the log says where"
    return f"its process ended with code {code} and no result; the log says why"


def tail_of(path: Path) -> str:
    """The end of a log; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
