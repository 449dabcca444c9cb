"""docs/data.md names every format, every option of a data set and every count."""

from __future__ import annotations

import re
from pathlib import Path

from lavis.common.binding import parameters
from lavis.common.registry import registry
from lavis.datasets.formats.base import AnnotationFormat
from lavis.datasets.grounding import GroundingDataset


def test_everything_is_documented(root: Path) -> None:
    text = (root / "docs" / "data.md").read_text(encoding="utf-8")
    words = set(re.findall(r"[a-z_0-9]+", text))
    options = {*parameters(GroundingDataset), *parameters(AnnotationFormat)} - set(GroundingDataset.wiring)
    left_out = {"check_files", "digit_lines"}  # for rare cases, explained where they are defined
    assert {*registry.formats, *registry.datasets} - {"grounding"} <= words
    assert options - left_out <= words
