"""The main job on a scene without waiting for it: nodes in, a process of its own, nodes back.

The same inside Slicer, where a timer polls, in a script, which waits, and on ``slicer-core``::

    jobs = SceneJobs(scene)
    handle = jobs.correct(volume_node, method="nmar")
    nodes = handle.result()  # or jobs.poll() now and then, until handle.ended

Nodes are read when a job is made and added when it has ended, both in the caller's thread.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, MARError
from ..evaluation.before_after import Measure
from ..jobs.call import result_of
from ..jobs.correction import (
    correction_job,
    correction_result,
    segmentation_job,
    segmentation_result,
)
from ..jobs.queue import Job, JobFailed, JobQueue, JobState
from .correct import chosen_options, ct_view, proposal_in_steps, results_in_steps
from .namespace import slicer_classes
from .segmentations import fraction_from_node, mask_from_segmentation
from .volumes import view_of

if TYPE_CHECKING:
    from ..correction.options import CorrectionOptions
    from ..metal import CleanUpParameters

HandleCallback = Callable[["SceneJob"], None]
_GONE = "the volume or its metal was removed from the scene; nothing was added"
_CANCELLED = "cancelled on request; nothing was added"


class SceneJob:
    """One job of a scene; made by :class:`SceneJobs`.

    :ivar title: for lists. :ivar nodes: what was added to the scene, None until it is done.
    :ivar state: a :class:`..jobs.queue.JobState`; done once the nodes are there.
    :ivar error: for the user, one line: why it failed or was cancelled; else "".
    """

    def __init__(
        self,
        owner: SceneJobs,
        job: Job,
        inputs: tuple[Any, ...],
        add_nodes: Callable[[Job], Any],
        on_progress: HandleCallback | None,
        on_end: HandleCallback | None,
    ) -> None:
        self.title = job.title
        self.nodes: Any = None
        self.state = JobState.WAITING
        self.error = ""
        self._failure: MARError | None = None
        self._owner, self._job = owner, job
        self._inputs, self._add_nodes = inputs, add_nodes
        self._on_progress, self._on_end = on_progress, on_end
        self._told = ""
        self._steps: Any = None
        self._cancelled = False

    @property
    def ended(self) -> bool:
        """Neither waiting nor running any more."""
        return self.state not in (JobState.WAITING, JobState.RUNNING)

    @property
    def done(self) -> bool:
        """Ended well: the nodes are there."""
        return self.state is JobState.DONE

    @property
    def adding(self) -> bool:
        """Its nodes are being added."""
        return self._steps is not None

    @property
    def fraction(self) -> float:
        """How much is done, 0..1."""
        return self._job.fraction

    @property
    def message(self) -> str:
        """What it does now."""
        return self._job.message

    @property
    def remaining_s(self) -> float | None:
        """Seconds left; None while unknown."""
        return self._job.remaining_s

    @property
    def seconds(self) -> float:
        """How long its process has run, or ran."""
        return self._job.seconds

    @property
    def remedy(self) -> str:
        """The end of the error, see :class:`..errors.MARError`."""
        return self._job.remedy

    @property
    def faulty(self) -> bool:
        """The program failed, not what it was given: its log tells where."""
        return isinstance(self._failure, JobFailed)

    @property
    def log(self) -> str:
        """What its process wrote to the error stream, with the traceback of an error."""
        return self._job.log

    def cancel(self) -> None:
        """Ask it to stop; returns at once, a later ``poll`` ends it."""
        self._cancelled = True  # also while its nodes are being added
        self._job.cancel()

    def wait(self, timeout_s: float | None = None) -> SceneJob:
        """Poll the queue until this job has ended, or the time is over; returns itself."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.ended and (until is None or time.monotonic() < until):
            self._owner.poll()
            if not self.ended:
                time.sleep(0.05)
        return self

    def result(self) -> Any:
        """Wait for the nodes.

        :raises InputError, OutputError, DeviceError, Cancelled, JobFailed: as it ended.
        """
        self.wait()
        if self._failure is not None:
            raise self._failure
        return self.nodes

    def follow(self, scene: Any) -> bool:
        """Take over what the process did since the last call; whether the job ended by that."""
        if self.ended:
            return False
        job = self._job
        gone = any(node is not None and node.GetScene() is not scene for node in self._inputs)
        if gone and not job.ended:
            job.cancel()
        if not job.ended:
            if job.state is JobState.RUNNING:
                self.state = JobState.RUNNING
            told = f"{job.fraction} {job.message}"
            if told != self._told and self._on_progress is not None:
                self._told = told
                self._on_progress(self)
            return False
        return self._finish(gone)

    def _finish(self, gone: bool) -> bool:
        """Nodes into the scene, or the reason why there are none; whether that is all."""
        job, state = self._job, self._job.state
        try:
            if gone:
                raise Cancelled(_GONE)
            job.raise_for_error()
            if self._cancelled:
                raise Cancelled(_CANCELLED)
            if self._steps is None:
                self._steps = self._add_nodes(job)
            if isinstance(self._steps, Generator):
                try:
                    next(self._steps)
                    return False  # one step a poll: whoever watches can go on between them
                except StopIteration as end:
                    self._steps = end.value
            self.nodes = self._steps
        except MARError as error:
            if isinstance(self._steps, Generator):
                self._steps.close()  # nothing of it stays in the scene
            self._failure = error
            state = JobState.CANCELLED if isinstance(error, Cancelled) else JobState.FAILED
        except MemoryError:
            self._failure = JobFailed("not enough memory for the results; close other volumes")
            state = JobState.FAILED
        except Exception as error:
            logging.exception("%s: its results were not taken over", self.title)
            self._failure = JobFailed(f"its results were not taken over: {error}")
            state = JobState.FAILED
        job.close()
        self._steps = None
        self.state = state
        self.error = str(self._failure) if self._failure is not None else ""
        self._inputs = ()
        if self._on_end is not None:
            self._on_end(self)
        return True


class SceneJobs:
    """The jobs of a scene, in the order in which they were asked for.

    Closing the scene cancels them. Nobody but ``poll`` adds nodes. Those that only write files
    (:meth:`write`) stand beside: they wait for no other and outlive the scene.

    :param scene: the ``vtkMRMLScene``. :param at_once: processes at a time; the others wait.
    """

    def __init__(self, scene: Any, at_once: int = 1) -> None:
        self.scene = scene
        self.queue, self._writing = JobQueue(at_once), JobQueue()
        self.handles: list[SceneJob] = []
        myself = weakref.ref(self)

        def closing(_scene: Any, _event: Any) -> None:
            jobs = myself()
            if jobs is not None:
                jobs._cancel(jobs.queue)

        self._observer = scene.AddObserver(slicer_classes().vtkMRMLScene.StartCloseEvent, closing)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        waits = not (self.queue.idle and self._writing.idle)
        return not waits and all(handle.ended for handle in self.handles)

    @property
    def adding(self) -> bool:
        """A job has ended well and adds its nodes, a step a poll."""
        return any(handle.adding for handle in self.handles)

    def correct(
        self,
        volume_node: Any,
        metal: Any = None,
        method: str = "",
        *,
        options: CorrectionOptions | None = None,
        keep_fraction: bool = False,
        show: bool = True,
        measure: bool = False,
        title: str = "",
        on_progress: HandleCallback | None = None,
        on_end: HandleCallback | None = None,
        **changes: Any,
    ) -> SceneJob:
        """:func:`.correct.correct_node` in a process of its own.

        :param metal: segmentation node, labelmap or volume of metal fractions; found if None.
        :param measure: also compare before and after, as a table beside the result.
        :param title: for lists; name and method if empty.
        :param method, options, changes: as of :func:`.correct.correct_node`; paths absolute.
        :param on_progress, on_end: called by :meth:`poll` with the handle.
        :returns: its ``nodes`` will be :class:`.correct.CorrectedNodes`.
        :raises InputError: the nodes cannot be used. :raises OutputError: no room on the disk.
        """
        chosen = chosen_options(method, options, changes)
        volume = ct_view(self.scene, volume_node)
        fraction = None
        if metal is not None:
            drawn = metal.IsA("vtkMRMLSegmentationNode")
            fraction = (mask_from_segmentation if drawn else fraction_from_node)(metal, volume_node)
        source, affine = volume.source, volume.ijk_to_ras
        title = title or f"{volume_node.GetName()}: {chosen.method}"
        job = correction_job(volume, fraction, chosen, measure=measure, title=title)
        job.when_cancelled = _CANCELLED

        def add_nodes(job: Job) -> Generator[None, None, Any]:
            result = correction_result(job, mapped=True)
            placed = replace(result.corrected, ijk_to_ras=affine, source=source)
            yield
            return (
                yield from results_in_steps(
                    self.scene,
                    volume_node,
                    replace(result, corrected=placed),
                    metal=metal,
                    keep_fraction=keep_fraction,
                    show=show,
                    facts=job.values["facts"],
                    shown=job.values["shown"],
                    measures=[Measure(**one) for one in job.values["measures"]],
                )
            )

        return self.add(job, (volume_node, metal), add_nodes, on_progress, on_end)

    def propose_metal(
        self,
        volume_node: Any,
        *,
        threshold_hu: float | None = None,
        method: str = "threshold",
        clean_up: CleanUpParameters | None = None,
        into: Any = None,
        title: str = "",
        on_progress: HandleCallback | None = None,
        on_end: HandleCallback | None = None,
    ) -> SceneJob:
        """:func:`.correct.propose_metal` in a process of its own.

        :returns: its ``nodes`` will be the segmentation node and a ``MetalSegmentation``.
        :raises InputError: the volume cannot be used. :raises OutputError: no room on the disk.
        """
        volume = ct_view(self.scene, volume_node)
        title = title or f"{volume_node.GetName()}: metal"
        job = segmentation_job(
            volume, method, threshold_hu=threshold_hu, clean_up=clean_up, title=title
        )
        job.when_cancelled = _CANCELLED

        def add_nodes(job: Job) -> Generator[None, None, Any]:
            found = segmentation_result(job)
            yield
            grid = view_of(volume_node)
            steps = proposal_in_steps(self.scene, volume_node, grid, found, into)
            return (yield from steps), found

        return self.add(job, (volume_node, into), add_nodes, on_progress, on_end)

    def poll(self) -> list[SceneJob]:
        """See what happened, without waiting; returns the handles that ended in this call."""
        queues = self.queue, self._writing
        for queue in queues:
            queue.poll()
        ended: list[SceneJob] = []
        adding = False
        for handle in list(self.handles):
            # Its turn to be told comes after the one whose nodes are being added.
            waits = adding and handle._job.ended and handle._job in self.queue.jobs
            if not waits and handle.follow(self.scene):
                ended.append(handle)
            adding = adding or handle.adding
        taken = [handle._job for handle in self.handles if not handle.ended]
        for queue in queues:
            for job in [one for one in queue.jobs if one.ended and one not in taken]:
                queue.remove(job)
        return ended

    def forget(self, handle: SceneJob) -> None:
        """Take an ended handle off the list; one that runs is cancelled and stays until it ends."""
        if not handle.ended:
            handle.cancel()
        elif handle in self.handles:
            self.handles.remove(handle)

    def _cancel(self, queue: JobQueue) -> None:
        """Ask all of a queue to stop; ``poll`` ends them."""
        for handle in self.handles:
            if handle._job in queue.jobs:
                handle.cancel()
        queue.cancel_all()

    def close(self) -> None:
        """End every process and remove every temporary folder; waits a second a process at most."""
        for queue in (self.queue, self._writing):
            self._cancel(queue)
            queue.close()
        self.scene.RemoveObserver(self._observer)
        for handle in list(self.handles):
            handle.follow(self.scene)
        self.handles.clear()

    def add(
        self,
        job: Job,
        inputs: tuple[Any, ...],
        add_nodes: Callable[[Job], Any],
        on_progress: HandleCallback | None = None,
        on_end: HandleCallback | None = None,
    ) -> SceneJob:
        """Put any job into the queue.

        :param inputs: nodes (or None); when one of them leaves the scene the job is cancelled.
        :param add_nodes: called with the job that ended well; its result is the handle's ``nodes``.
            A generator is taken a step a poll.
        """
        handle = SceneJob(self, job, inputs, add_nodes, on_progress, on_end)
        self.queue.add(job)
        self.handles.append(handle)
        return handle

    def write(self, job: Job, on_end: HandleCallback | None = None) -> SceneJob:
        """Start a job that only writes files, of :func:`..jobs.call.call_job`.

        :returns: its ``nodes`` will be what the function returned.
        """
        handle = SceneJob(self, job, (), result_of, None, on_end)
        self._writing.add(job)
        self.handles.append(handle)
        return handle
