"""The tokeniser and METEOR of the tests: one METEOR process for all that are scored, and no text tokenised twice.

Loading METEOR's paraphrases takes seconds of two processors, and Java itself one. Tests of the tools themselves
(``tests/unit/scoring/captions``) start their own.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lavis.scoring.base import ScoringError
from lavis.scoring.captions import tools

USERS = ("lavis.scoring.protocols.dense_captioning", "lavis.scoring.protocols.etbench")


class _Kept(tools.CaptionTools):
    @functools.cached_property
    def _together(self) -> dict[tuple[str, ...], list[str]]:
        return {}

    def tokenize_together(self, lines: Sequence[str]) -> list[str]:
        key = tuple(lines)
        if key not in self._together:
            self._together[key] = super().tokenize_together(lines)
        return list(self._together[key])


@functools.cache
def _kept() -> _Kept:
    java, package = shutil.which("java"), tools.package_folder()
    assert java is not None and package is not None
    made = _Kept(java, package)
    atexit.register(made.close)
    return made


@contextmanager
def caption_tools(timeout: float | None = None) -> Iterator[tools.CaptionTools]:
    """As ``lavis.scoring.captions.tools.caption_tools``, but not closed afterwards, unless something went wrong."""
    reason = tools.captions_available()
    if reason:
        raise ScoringError(reason)
    kept = _kept()
    try:
        yield kept
    except BaseException:
        kept.close()
        raise


def keep() -> None:
    """From now on scoring uses these."""
    for name in USERS:
        importlib.import_module(name).caption_tools = caption_tools  # type: ignore[attr-defined]
