"""Tokeniser and METEOR for these tests; one METEOR process for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lavis.scoring.captions.tools import CaptionTools, caption_tools, captions_available


@pytest.fixture(scope="package")
def tools() -> Iterator[CaptionTools]:
    reason = captions_available()
    if reason:
        pytest.skip(reason)
    with caption_tools() as made:
        yield made
