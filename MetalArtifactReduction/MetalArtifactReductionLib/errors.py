"""Errors that a user reads: one line that names the value and the remedy."""


class MARError(Exception):
    """Base of every error raised on purpose. ``str(error)`` is one line for the user.

    :ivar remedy: the end of that line, where it names arguments and options; a panel, which has
        buttons for them, leaves it out.
    """

    def __init__(self, text: str = "", remedy: str = "") -> None:
        super().__init__(text + remedy)
        self.remedy = remedy


class InputError(MARError, ValueError):
    """The input cannot be used (not CT, corrupted, no metal, mask of another geometry, ...)."""


class OutputError(MARError, OSError):
    """The output cannot be written (exists already, equals the input, no permission, ...)."""


class DeviceError(MARError, RuntimeError):
    """The compute device does not exist or has too little memory."""


class Cancelled(MARError):
    """The user asked to stop; nothing was written."""


def printable(text: str) -> str:
    """Text from a file for a terminal or a table: what moves the cursor is shown, not done."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: str) -> str:
    """As :func:`printable` where a new line would be taken for one of ours."""
    return printable(text).replace("\n", "\\n")


def shown(value: object, longest: int = 60) -> str:
    """A value from a file for a message: quoted, and cut where it is long."""
    text = printable(repr(value))
    return text if len(text) <= longest else f"{text[:longest]}..."
