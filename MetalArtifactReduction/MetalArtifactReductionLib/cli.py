"""The command line ``mar``: parses, calls the library, tells the user.

Exit codes: 0 done; 1 some of many cases failed, or a fault of the program (with its traceback); 2
unusable input, output or option, one line says which and what to do; 130 stopped by the user,
nothing written; 141 the reader of the output has gone.

Other packages add commands through the entry-point group ``metal_artifact_reduction.commands``:
each entry is a function that takes the sub-parsers and adds its own.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from . import commands as commands_package
from .commands import COMMANDS
from .commands.configuration import take_defaults
from .commands.messages import messages, note, progress_bar
from .commands.options import add_command, add_compute_options
from .errors import Cancelled, MARError, printable
from .files.leftovers import clear_own
from .jobs.interrupt import STOPPED, ended_by_ctrl_c

__all__ = [
    "COMMANDS_GROUP",
    "add_command",
    "add_compute_options",
    "build_parser",
    "main",
    "note",
    "progress_bar",
]

COMMANDS_GROUP = "metal_artifact_reduction.commands"

_FILES = ("INPUT", "OUTPUT", "FILE", "FOLDER")

_OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR),
)

DESCRIPTION = """\
Metal artifact reduction for CT that exists only as images: DICOM, NIfTI, NRRD or MetaImage in,
corrected volume out. Not a medical device.

  mar info ct.nii.gz                          what is this volume, is it usable?
  mar segment ct.nii.gz metal.nii.gz          find the metal; look at it before you correct
  mar correct ct.nii.gz corrected.nii.gz      correct it (normalised interpolation, NMAR)
  mar correct dicom-folder/ corrected.nrrd --mask metal.nii.gz --change-map change.nrrd
  mar demo                                    see it work on a phantom with known truth

Every command explains itself: mar COMMAND --help"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mar: {message}; see {self.prog} --help\n")


class _Completion(argparse.Action):
    """Prints the shell's script, with the names of files where one is an argument."""

    def __call__(
        self, parser: argparse.ArgumentParser, _n: Any, shell: Any, _o: str | None = None
    ) -> None:
        """As argparse calls it."""
        import shtab

        commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        for one in commands.choices.values():
            for action in one._actions:
                if action.type is Path or action.metavar in _FILES:
                    action.complete = shtab.FILE
        print(shtab.complete(parser, shell))
        parser.exit()


def build_parser(more: Sequence[Callable[[Any], None]] = ()) -> argparse.ArgumentParser:
    """The parser with every command, the installed packages' own included.

    :param more: functions that add a command each, as :data:`COMMANDS` names them.
    """
    parser = _Parser(
        prog="mar", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"mar {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of any error")
    parser.add_argument(
        "--print-completion",
        choices=("bash", "zsh"),
        action=_Completion,
        help="print what lets the shell complete commands, options and files",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        module, name = command.split(":")
        getattr(import_module(module, commands_package.__name__), name)(commands)
    for entry in sorted(entry_points(group=COMMANDS_GROUP), key=lambda e: e.name):
        entry.load()(commands)
    for add in more:
        add(commands)
    return parser


def main(arguments: Sequence[str] | None = None, more: Sequence[Callable[[Any], None]] = ()) -> int:
    """Run one command, ``more`` as of :func:`build_parser`; returns the exit code."""
    debug = False
    _say_whatever_it_is()
    try:
        given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
        if given[0] == "help":
            given = [*given[1:], "--help"]
        parser = build_parser(more)
        options = parser.parse_args(given)
        debug = options.debug
        if take_defaults(options):
            options = parser.parse_args(given)
        with messages(options), ended_by_ctrl_c():
            code = options.run(options) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone (mar info ... | head): nothing to tell, nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Cancelled as error:
        print(printable(f"mar: {error}"), file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt as stop:
        print(f"mar: stopped; {str(stop) or 'nothing was written'}", file=sys.stderr)
        return STOPPED
    except (MARError, MemoryError, OSError) as error:
        if debug or (isinstance(error, OSError) and not _of_the_disk(error)):
            raise
        print(f"mar: {_one_line(error)}", file=sys.stderr)
        return 2
    return int(code)


def run() -> NoReturn:
    """``mar`` as a process; one that was stopped does not wait until torch is taken apart."""
    code = main()
    if code == STOPPED:
        clear_own()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _say_whatever_it_is() -> None:
    """Names of files that are no text, a terminal that knows ASCII only, or none, end nothing."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would get its number, and its text
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _of_the_disk(error: OSError) -> bool:
    """What a user can mend: a full or read-only disk, no permission, no such place."""
    return isinstance(error, MARError) or error.errno in _OF_THE_DISK


def _one_line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory; give fewer --batch-slices or crop the volume"
    if isinstance(error, OSError) and not isinstance(error, MARError):
        where = f"{error.filename}: " if error.filename else ""
        return printable(f"{where}{error.strerror}; free space or choose another place")
    return printable(" ".join(str(error).split()))


if __name__ == "__main__":
    run()
