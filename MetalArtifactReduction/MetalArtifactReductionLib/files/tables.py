"""Cells of CSV tables that people open in a spreadsheet."""

from __future__ import annotations

from ..errors import printable


def cell(value: object) -> object:
    """A value as a spreadsheet takes it for what it is: text is never a formula.

    None is empty; control characters and bytes that are no text are shown as such.
    """
    if not isinstance(value, str):
        return "" if value is None else value
    text = printable(value)
    return f"'{text}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else text
