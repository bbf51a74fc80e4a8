"""Python in a process of its own: which executable, with which environment, and its end.

Works the same from a plain Python and from inside 3D Slicer, where ``sys.executable`` is the
application itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from ..errors import DeviceError


def python_executable() -> str:
    """The Python that runs what this one would run.

    Inside Slicer it is ``PythonSlicer``, which Slicer puts on the ``PATH``; builds that bring none
    use the interpreter that Slicer's Python was built with.

    :raises DeviceError: inside an application that brings no Python executable.
    """
    own = Path(sys.executable or "")
    if own.name.lower().startswith(("python", "pypy")):
        return str(own)
    found = shutil.which("PythonSlicer")
    if found:
        return found
    suffix = ".exe" if os.name == "nt" else ""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    prefix = Path(sys.exec_prefix)
    candidates = [own.parent / f"PythonSlicer{suffix}", prefix / f"python{suffix}"]
    for name in ("python-real", f"python{version}", "python3", "python"):
        candidates += [own.parent / f"{name}{suffix}", prefix / "bin" / f"{name}{suffix}"]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise DeviceError(
        f"no Python executable beside {own or 'this application'} or in {prefix}: "
        "put PythonSlicer on the PATH"
    )


def child_environment(packages: Sequence[str]) -> dict[str, str]:
    """The environment in which a child imports what its parent can.

    :param packages: names of packages whose folders come first, wherever they were found.
    """
    folders = [str(_folder_of(name)) for name in packages]
    folders += [entry for entry in sys.path if entry and Path(entry).is_dir()]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(str(Path(one).absolute()) for one in folders)),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash leaves its traceback in the log
    }


def _folder_of(package: str) -> Path:
    """The folder to import a package from."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.origin:
        raise ModuleNotFoundError(f"no package {package!r}")
    origin = Path(spec.origin)
    return origin.parent.parent if origin.name == "__init__.py" else origin.parent


def start_python(
    arguments: Sequence[str], *, packages: Sequence[str], folder: Path, out: IO[Any], err: IO[Any]
) -> subprocess.Popen[bytes]:
    """Start Python with arguments, standing in ``folder``, its standard input a pipe.

    It gets a process group of its own, so that an interrupt at the terminal reaches the parent
    alone and the child's own children can be ended with it; no window opens on Windows.
    """
    extra: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        flags = "CREATE_NO_WINDOW", "CREATE_NEW_PROCESS_GROUP"
        extra = {"creationflags": sum(getattr(subprocess, flag) for flag in flags)}
    return subprocess.Popen(
        [python_executable(), *arguments],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=err,
        cwd=folder,
        env=child_environment(packages),
        **extra,
    )


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started, at once; waits until the system has done it."""
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(process.pid)],
            capture_output=True,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of them have ended
            os.killpg(process.pid, signal.SIGKILL)
    if process.poll() is None:
        process.kill()
        process.wait()
