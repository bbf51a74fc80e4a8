"""Text from files in tables that people open in a spreadsheet or a browser."""

from __future__ import annotations

import html

from ..errors import printable


def cell(value: object) -> object:
    """A value as a spreadsheet takes it for what it is: text is never a formula.

    None is empty; control characters and bytes that are no text are shown as such.
    """
    if not isinstance(value, str):
        return "" if value is None else value
    text = printable(value)
    return f"'{text}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def escaped(text: str) -> str:
    """Text for HTML: neither markup nor control characters, which XML forbids."""
    return html.escape(printable(text))
