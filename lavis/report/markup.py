"""HTML from Python values: escaped text, elements, and the numbers and times as the page writes them."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

MISSING = "–"

VOID = frozenset({"br", "hr", "img", "input", "meta"})


def text(value: object) -> str:
    """``value`` as text that HTML shows as it is; also safe inside a quoted attribute."""
    return html.escape(str(value), quote=True)


def element(tag: str, /, *children: str, **attributes: object) -> str:
    """One element; ``children`` are HTML already, attribute values are escaped here.

    A trailing underscore of an attribute is dropped (``class_``), inner ones become hyphens (``data_kind``). ``True``
    gives a bare attribute, ``None`` and ``False`` leave it out.
    """
    shown = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        shown.append(f" {attribute}" if value is True else f' {attribute}="{text(value)}"')
    opening = f"<{tag}{''.join(shown)}>"
    return opening if tag in VOID else f"{opening}{''.join(children)}</{tag}>"


def joined(parts: Iterable[str]) -> str:
    """Pieces of HTML after one another, one a line, so that a saved page can be compared with another."""
    return "\n".join(part for part in parts if part)


def figure(value: float | None, digits: int = 2) -> str:
    """A number of the result table; a dash where there is none."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def seconds(value: float) -> str:
    """A time of the video: ``8 s``, ``12.5 s``."""
    return f"{value:.1f}".removesuffix(".0") + " s"


def span(start: float, end: float) -> str:
    """A moment: ``8–12.5 s``."""
    return f"{f'{start:.1f}'.removesuffix('.0')}–{seconds(end)}"


def duration(value: float) -> str:
    """How long something took: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(value: float, digits: int = 4) -> str:
    """A share of 1 as a CSS percentage."""
    return f"{100 * value:.{digits}f}".rstrip("0").rstrip(".") + "%"
