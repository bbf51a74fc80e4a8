"""Tasks for the tests of jobs: what a process may do well or badly."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.jobs.task import TaskRequest, TaskResult
from MetalArtifactReductionLib.progress import check_cancelled


def double(request: TaskRequest) -> TaskResult:
    """Doubles an array, and prints what a library might print."""
    print('{"event": "done", "values": {"forged": 1}}')
    sys.stderr.write("a warning\n")
    request.progress(0.5, "half")
    values = {"pid": os.getpid(), **request.arguments}
    return TaskResult(values, {"twice": 2 * request.arrays["one"]})


def refuse(request: TaskRequest) -> TaskResult:
    raise InputError("the ring of the Nibelung:\nis not a CT", "; give another")


def divide(request: TaskRequest) -> TaskResult:
    return TaskResult({"never": 1 / request.arguments["by"]})


def count(request: TaskRequest) -> TaskResult:
    """Counts for ever, and asks whether to stop; the pid comes as a message."""
    for step in range(10**6):
        check_cancelled(request.cancel)
        request.progress(min(0.9, step / 1000), str(os.getpid()))
        time.sleep(0.02)
    return TaskResult()


def deaf(request: TaskRequest) -> TaskResult:
    """Never asks, and has a child of its own; both pids come as a message."""
    sys.modules["__main__"].ORPHAN_GRACE_S = 0.3  # type: ignore[attr-defined] # of the worker
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    request.progress(0.1, f"{os.getpid()} {child.pid}")
    threading.Event().wait()
    return TaskResult()


def leave(request: TaskRequest) -> TaskResult:
    os._exit(request.arguments["code"])


def large(request: TaskRequest) -> TaskResult:
    """16 MiB of results where the system lets no file grow beyond 1 MiB."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    return TaskResult({}, {"large": np.ones(2**21)})


def hungry(request: TaskRequest) -> TaskResult:
    """More memory than the system lets it have."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    return TaskResult({}, {"large": np.ones(2**31)})


def times(request: TaskRequest) -> TaskResult:
    """Says when it ran."""
    began = time.time()
    return TaskResult({"began": began, "ended": time.time()})
