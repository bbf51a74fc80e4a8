"""Jobs that run one after the other, or some at a time; see :mod:`.job` for a single one."""

from __future__ import annotations

import time

from ..errors import InputError
from .job import Job, JobFailed, JobState

__all__ = ["Job", "JobFailed", "JobQueue", "JobState"]


class JobQueue:
    """Jobs one after the other, or some at a time, in the order in which they were added.

    :param at_once: processes at a time.
    """

    def __init__(self, at_once: int = 1) -> None:
        if at_once < 1:
            raise InputError(f"{at_once} jobs at once: give 1 or more")
        self.at_once = at_once
        self.jobs: list[Job] = []

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return all(job.ended for job in self.jobs)

    def add(self, job: Job) -> Job:
        """Put a job at the end of the queue; returns it."""
        self.jobs.append(job)
        return job

    def poll(self) -> list[Job]:
        """Poll what runs, start what may; returns the jobs that ended in this call."""
        ended = []
        for job in list(self.jobs):
            if job.state is JobState.RUNNING:
                job.poll()
                if job.ended:
                    ended.append(job)
        for job in list(self.jobs):
            if sum(one.state is JobState.RUNNING for one in self.jobs) >= self.at_once:
                break
            if job.state is JobState.WAITING:
                job.start()
                if job.ended:
                    ended.append(job)
        return ended

    def wait(self, timeout_s: float | None = None, *, every_s: float = 0.05) -> bool:
        """Poll until the queue is idle, or the time is over; returns whether it is idle."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.idle and (until is None or time.monotonic() < until):
            self.poll()
            if not self.idle:
                time.sleep(every_s)
        return self.idle

    def remove(self, job: Job) -> None:
        """Close a job and take it out of the queue."""
        job.close()
        if job in self.jobs:
            self.jobs.remove(job)

    def cancel_all(self) -> None:
        """Ask every job to stop, the waiting ones first."""
        for job in sorted(self.jobs, key=lambda one: one.state is not JobState.WAITING):
            job.cancel()

    def close(self) -> None:
        """End every process and remove every folder; the queue is empty then."""
        self.cancel_all()
        for job in self.jobs:
            job.close()
        self.jobs.clear()
