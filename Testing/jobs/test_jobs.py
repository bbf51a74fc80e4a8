"""Jobs with a real process each: how they end, and that nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import Cancelled, DeviceError, InputError, OutputError
from MetalArtifactReductionLib.files.leftovers import process_alive
from MetalArtifactReductionLib.jobs.child_process import python_executable
from MetalArtifactReductionLib.jobs.queue import Job, JobFailed, JobQueue, JobState
from support import HANG_S, running, until

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Makes jobs of ``job_tasks`` whose folders lie in one with blanks and other letters."""
    folder = tmp_path / "für Jobs; 名前 $HOME"
    folder.mkdir()
    made: list[Job] = []

    def new(name: str, arguments: dict[str, object] | None = None, **options: object) -> Job:
        made.append(Job(f"job_tasks:{name}", arguments, folder=folder, **options))  # type: ignore
        return made[-1]

    yield new
    for job in made:
        job.close()
    assert list(folder.iterdir()) == []


def told(job: Job) -> str:
    """The first message of a job that was started."""
    job.start()
    until(lambda: job.poll() is not JobState.RUNNING or job.message)
    return job.message


def test_success(make: Callable[..., Job]) -> None:
    seen: list[tuple[float, str]] = []
    ended: list[JobState] = []
    job = make(
        "double",
        {"name": "Größe"},
        arrays={"one": np.arange(5.0)},
        on_progress=lambda job: seen.append((job.fraction, job.message)),
        on_end=lambda job: ended.append(job.state),
    )
    assert job.state is JobState.WAITING
    assert job.wait(HANG_S) is JobState.DONE, job.log
    np.testing.assert_array_equal(job.array("twice"), 2 * np.arange(5.0))
    assert job.values["name"] == "Größe"
    assert job.values["pid"] != os.getpid()
    assert "forged" not in job.values  # what a task prints is not what the worker says
    assert '"forged"' in job.log and "a warning" in job.log
    assert set(seen) <= {(0.5, "half")}
    assert ended == [JobState.DONE]
    assert (job.error, job.fraction) == ("", 1.0)
    until(lambda: not process_alive(job.values["pid"]))


def test_an_error_of_the_task(make: Callable[..., Job]) -> None:
    job = make("refuse")
    assert job.wait(HANG_S) is JobState.FAILED
    assert job.error == f"the ring of the Nibelung: is not a CT{job.remedy}"
    assert job.remedy == "; give another"
    assert "Traceback" in job.log and "in refuse" in job.log
    with pytest.raises(InputError, match="Nibelung"):
        job.raise_for_error()


def test_a_fault_of_the_program(make: Callable[..., Job]) -> None:
    job = make("divide", {"by": 0})
    assert job.wait(HANG_S) is JobState.FAILED
    assert job.error == "ZeroDivisionError: division by zero"
    assert "in divide" in job.log
    with pytest.raises(JobFailed):
        job.raise_for_error()


@pytest.mark.parametrize("task", ["job_tasks:missing", "no_such_package.module:function"])
def test_a_task_that_cannot_be_imported(task: str) -> None:
    job = Job(task)
    assert job.wait(HANG_S) is JobState.FAILED
    assert "missing" in job.error or "no_such_package" in job.error
    job.close()
    assert not job.folder.exists()


def test_cancel(make: Callable[..., Job]) -> None:
    job = make("count", grace_s=10 * HANG_S)  # it listens: it is not ended
    pid = int(told(job))
    job.cancel()
    assert job.state is JobState.RUNNING
    assert job.wait(HANG_S) is JobState.CANCELLED
    assert not process_alive(pid)
    with pytest.raises(Cancelled):
        job.raise_for_error()


@posix
def test_what_does_not_listen_is_ended_with_its_children(make: Callable[..., Job]) -> None:
    job = make("deaf", grace_s=0.3)
    pids = [int(word) for word in told(job).split()]
    assert len(pids) == 2 and all(map(process_alive, pids))
    job.cancel()
    assert job.wait(HANG_S) is JobState.CANCELLED
    until(lambda: not any(map(running, pids)))


def test_closing_ends_it(make: Callable[..., Job]) -> None:
    job = make("count")
    pid = int(told(job))
    job.close()
    assert job.state is JobState.CANCELLED
    assert not process_alive(pid) and not job.folder.exists()


def test_a_forgotten_job_leaves_nothing(make: Callable[..., Job]) -> None:
    job = Job("job_tasks:count")
    pid, folder = int(told(job)), job.folder
    del job
    until(lambda: not process_alive(pid) and not folder.exists())


@posix
@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "memory"), (signal.SIGSEGV, "crashed")]
)
def test_a_killed_process(make: Callable[..., Job], number: int, words: str) -> None:
    job = make("count")
    os.kill(int(told(job)), number)
    assert job.wait(HANG_S) is JobState.FAILED
    assert f"signal {number}" in job.error.replace("SIG", "") and words in job.error


def test_a_process_that_leaves_without_a_word(make: Callable[..., Job]) -> None:
    for code in (0, 7):
        job = make("leave", {"code": code})
        assert job.wait(HANG_S) is JobState.FAILED
        assert f"code {code}" in job.error


PARENT = """
import sys, threading
from pathlib import Path
from MetalArtifactReductionLib.jobs.queue import Job

job = Job("job_tasks:{task}", folder=Path(sys.argv[1]))
job.start()
while not job.message:
    job.poll()
print(job.message, flush=True)
{then}
"""


@posix
@pytest.mark.parametrize(
    ("task", "then"),
    [
        ("count", "threading.Event().wait()"),  # is killed
        ("deaf", "threading.Event().wait()"),
        ("count", ""),  # comes to its end with a job running
        ("count", "raise RuntimeError('fault')"),
    ],
)
def test_nothing_outlives_the_parent(tmp_path: Path, task: str, then: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = PARENT.format(task=task, then=then)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        if "wait" in then:
            assert all(map(process_alive, pids))
            parent.kill()
        parent.wait(HANG_S)
    until(lambda: not any(map(running, pids)) and not any(tmp_path.iterdir()))


@posix
def test_no_room_for_the_results(make: Callable[..., Job]) -> None:
    job = make("large")
    assert job.wait(HANG_S) is JobState.FAILED
    assert "full" in job.error and "TMPDIR" in job.error and str(job.folder.parent) in job.error
    assert not (job.folder / "results").exists()
    with pytest.raises(OutputError):
        job.raise_for_error()


@posix
def test_no_room_for_the_inputs(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from MetalArtifactReductionLib.jobs.queue import Job\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))\n"
        "Job('job_tasks:double', {}, {'one': np.ones(2**16)}, folder=Path(sys.argv[1]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "OutputError" in last and "TMPDIR" in last and str(tmp_path) in last
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="TMPDIR"):
        Job("job_tasks:double", folder=tmp_path / "nowhere")


@posix
def test_too_little_memory(make: Callable[..., Job]) -> None:
    job = make("hungry")
    assert job.wait(HANG_S) is JobState.FAILED
    assert job.error.startswith("not enough memory")
    assert "Traceback" in job.log


# -- which Python -------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("word", ["exec", ""], ids=["wrapper", "launcher"])
def test_inside_an_application_the_launcher_on_the_path_runs_it(
    tmp_path: Path, make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """As in Slicer: the program that runs is no Python, and PythonSlicer starts one."""
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n{word} "{sys.executable}" "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    assert python_executable() == str(launcher)
    job = make("count", grace_s=10 * HANG_S)
    pid = int(told(job))
    assert process_alive(pid), job.log
    job.cancel()
    assert job.wait(HANG_S) is JobState.CANCELLED
    until(lambda: not process_alive(pid))


def test_an_application_without_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "Slicer"))
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    with pytest.raises(DeviceError, match="PythonSlicer"):
        python_executable()
    job = Job("job_tasks:double")
    job.start()
    assert job.state is JobState.FAILED and "PythonSlicer" in job.error
    job.close()


# -- queue --------------------------------------------------------------------------------------


def test_a_queue_runs_some_at_a_time_in_order(make: Callable[..., Job]) -> None:
    queue = JobQueue(at_once=2)
    ended: list[Job] = []
    jobs = [make("times", on_end=ended.append) for _ in range(3)]
    jobs.append(make("divide", {"by": 0}, on_end=ended.append))
    for job in jobs:
        queue.add(job)
    most = 0
    while not queue.idle:
        queue.poll()
        most = max(most, sum(job.state is JobState.RUNNING for job in jobs))
    assert most == 2
    assert [job.state for job in jobs] == [JobState.DONE] * 3 + [JobState.FAILED]
    assert sorted(map(id, ended)) == sorted(map(id, jobs))
    first = min(jobs[0].values["ended"], jobs[1].values["ended"])
    assert jobs[2].values["began"] >= first
    queue.close()
    assert queue.jobs == []


def test_cancel_one_and_all_of_a_queue(make: Callable[..., Job]) -> None:
    queue = JobQueue()
    jobs = [queue.add(make("count")) for _ in range(3)]
    queue.poll()
    jobs[1].cancel()
    assert jobs[1].state is JobState.CANCELLED
    until(lambda: queue.poll() or jobs[0].message)
    jobs[0].cancel()
    until(lambda: queue.poll() or jobs[2].message)
    assert jobs[0].state is JobState.CANCELLED and jobs[2].state is JobState.RUNNING
    queue.cancel_all()
    assert queue.wait(HANG_S)
    assert {job.state for job in jobs} == {JobState.CANCELLED}


def test_a_queue_needs_a_process() -> None:
    with pytest.raises(InputError, match="0 jobs at once"):
        JobQueue(at_once=0)
