"""What a command tells beside its result: one logger, to the error stream and to ``--log FILE``.

INFO is what is done, for ``--verbose`` and the file; WARNING is what a user should know of the
input; the file has times and, of errors, the traceback.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import OutputError, one_line, printable
from ..progress import Progress

LOG = logging.getLogger("mar")

LOG_SUFFIXES = (".log", ".txt")
"""A log is added to: no other file is ever opened for one."""

_LEAST_STEP_S = 1.0


def add_message_options(parser: argparse.ArgumentParser) -> None:
    """``--quiet``, ``--verbose``, ``--log``."""
    group = parser.add_argument_group("messages, on the error stream")
    loud = group.add_mutually_exclusive_group()
    loud.add_argument("--quiet", action="store_true", help="no progress, no table: errors, notes")
    loud.add_argument("--verbose", action="store_true", help="each step in a line, without a bar")
    group.add_argument("--log", type=Path, metavar="FILE", help="add every message to a .log file")


@contextmanager
def messages(options: argparse.Namespace) -> Iterator[None]:
    """Messages go where the options say, until the command ends.

    :raises OutputError: the log cannot be written, or is not named like one.
    """
    handlers: list[logging.Handler] = [_Terminal(options.verbose)]
    if options.log is not None:
        handlers.append(_log_file(options.log))
    LOG.propagate = False
    LOG.setLevel(logging.INFO)
    for handler in handlers:
        LOG.addHandler(handler)
    began = time.monotonic()
    LOG.info("mar %s: %s", __version__, options.command)
    try:
        yield
        LOG.info("done in %.1f s", time.monotonic() - began)
    except BaseException as error:
        _to_files(f"ended after {time.monotonic() - began:.1f} s by {type(error).__name__}")
        raise
    finally:
        for handler in handlers:
            LOG.removeHandler(handler)
            handler.close()


class _Terminal(logging.Handler):
    def __init__(self, verbose: bool) -> None:
        super().__init__(logging.INFO if verbose else logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        kind = "note: " if record.levelno == logging.WARNING else ""
        print(printable(f"mar: {kind}{record.getMessage()}"), file=sys.stderr, flush=True)


def _log_file(path: Path) -> logging.Handler:
    if path.suffix.lower() not in LOG_SUFFIXES:
        raise OutputError(f"{path}: a log is added to; name a file that ends in .log")
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); choose another place for the log"
        ) from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _to_files(message: str) -> None:
    """With the traceback of what is being handled."""
    record = LOG.makeRecord(LOG.name, logging.ERROR, "", 0, message, (), sys.exc_info())
    for handler in LOG.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def note(told: Iterable[str]) -> None:
    """Sentences that a user should know."""
    for message in told:
        LOG.warning("%s", " ".join(message.split()))


@contextmanager
def progress_bar(title: str, quiet: bool = False) -> Iterator[Progress]:
    """A bar on the error stream, with the time left, that a library function can report to."""
    from tqdm import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
    lines = any(isinstance(h, _Terminal) and h.level <= logging.INFO for h in LOG.handlers)
    hidden = quiet or lines
    last = ("", 0.0)
    with ExitStack() as stack:
        bar: Any = None  # what is refused at once shows none

        def progress(fraction: float, message: str) -> None:
            nonlocal bar, last
            now = time.monotonic()
            if message != last[0] and (now - last[1] >= _LEAST_STEP_S or fraction >= 1.0):
                LOG.info("%s: %.0f %%, %s", title, 100 * fraction, message)
                last = message, now
            if bar is None:
                made = tqdm(
                    total=1.0, desc=title, bar_format=layout, disable=hidden, leave=not hidden
                )
                bar = stack.enter_context(made)
            bar.set_postfix_str(one_line(message), refresh=False)
            bar.update(fraction - bar.n)

        yield progress
