"""Every configured data set has a row that says where it comes from, as the configurations and docs/data.md have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lavis.common.config import list_configs
from lavis.preparation.data_sources import SOURCES, DataSource, layouts_table, sources_table

NOT_DOWNLOADED = {"sample_corpus", "sample_conversations"}


def test_every_configured_data_set_has_one_source() -> None:
    named = [name for source in SOURCES for name in source.configs]
    assert len(named) == len(set(named))
    assert set(named) == set(list_configs("datasets")) - NOT_DOWNLOADED


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_folders_and_commands_are_those_of_the_project(root: Path, source: DataSource) -> None:
    text = "".join((root / "configs" / "datasets" / f"{name}.yaml").read_text() for name in source.configs)
    for folder in source.folder.split(", "):
        assert re.search(rf"\$\{{data:{folder}[/}}_]|: {folder}", text), folder
    for command in source.commands:
        assert (root / command.split()[1]).is_file()
    assert all((source.get, source.size, source.licence))


@pytest.mark.parametrize("table", [sources_table, layouts_table])
def test_the_documentation_has_the_table(root: Path, table: object) -> None:
    assert callable(table)
    text, made = (root / "docs" / "data.md").read_text(encoding="utf-8"), table()
    if made.split("\n")[0] not in text:
        pytest.skip(f"docs/data.md has no table with the head {made.split(chr(10))[0]}")
    assert made in text
