"""The frame of every page: one file with the project's style and script, sections, and links to them.

It knows nothing of what is shown, and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lavis.common.io import read_text
from lavis.report.markup import element, joined, text

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "report"
Section = tuple[str, str, str]
"""Anchor, title and HTML."""


def document(title: str, body: str, more_style: str = "") -> str:
    """A whole page around a body, with the style and script of all pages.

    Args:
        title: of the page.
        body: HTML.
        more_style: a further style file of the assets, such as ``score.css``.
    """
    style, script = (read_text(ASSETS / name) for name in ("page.css", "page.js"))
    if more_style:
        style += read_text(ASSETS / more_style)
    head = joined(
        [
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", text(title)),
            f"<style>\n{style}</style>",
            element("noscript", "<style>.controls{display:none}</style>"),
        ]
    )
    page = element("html", element("head", head), element("body", body, f"<script>\n{script}</script>"), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def framed(header: str, sections: Sequence[Section]) -> str:
    """The body of a page: header, links to the sections, the sections."""
    return joined(
        [
            element("a", "To the results", href="#results", class_="skip"),
            header,
            _navigation(sections),
            element("main", joined(_section(*section) for section in sections)),
            element("footer", element("p", "Made by LAVIS Moments. This page loads nothing from elsewhere.")),
        ]
    )


def theme_button() -> str:
    """Switches light and dark; the script shows it."""
    return element("button", "Theme", type="button", id="theme", hidden=True, aria_label="Switch light and dark")


def _navigation(sections: Sequence[Section]) -> str:
    links = [element("a", text(name), href=f"#{anchor}") for anchor, name, _ in sections]
    return element("nav", *links, aria_label="Sections")


def _section(anchor: str, name: str, content: str) -> str:
    return element(
        "section",
        element("h2", text(name), id=f"{anchor}-title"),
        content,
        id=anchor,
        aria_labelledby=f"{anchor}-title",
    )
