"""The graph of a pipeline: nodes from the record, places without overlap, a page that stands alone."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lavis.common.io import write_json
from lavis.report.layers import arranged
from lavis.report.pipeline_graph import graph_section, nodes_of, state_of, write_page

CODE = {"lavis": "c" * 64}


def stage(root: Path, inputs: dict[str, str], outputs: dict[str, str] | None, **more: Any) -> dict[str, Any]:
    kinds = {".safetensors": "weights", ".jsonl": "prior", ".json": "annotations"}
    read = {
        key: {
            "path": path if path.startswith("/") else str(root / path),
            "kind": kinds[Path(path).suffix],
            "digest": "d",
        }
        for key, path in inputs.items()
    }
    return {"action": "train", "inputs": read, "outputs": outputs, "code": CODE, "seconds": 61.0, **more}


@pytest.fixture
def record(tmp_path: Path) -> Path:
    stages = {
        "stage1": stage(tmp_path, {"a": "/data/train.json"}, {"one/best.safetensors": "w" * 64}, last="up to date"),
        "hints": stage(
            tmp_path, {"w": "one/best.safetensors"}, {"one/train.jsonl": "t", "one/val.jsonl": "v"}, last="ran"
        ),
        "<stage 2>": stage(tmp_path, {"p": "one/train.jsonl", "q": "one/val.jsonl"}, None, failed="no space"),
        "gone": stage(tmp_path, {}, {}),
    }
    known = {
        "version": 2,
        "pipeline": "calce/qvh",
        "order": ["stage1", "hints", "<stage 2>", "report"],
        "stages": stages,
    }
    write_json(tmp_path / "pipelines" / "calce" / "qvh.json", known)
    return tmp_path / "pipelines" / "calce" / "qvh.json"


def known_of(record: Path) -> dict[str, Any]:
    from lavis.common.io import read_json

    known: dict[str, Any] = read_json(record)
    return known


def test_files_stand_between_the_stages(record: Path) -> None:
    nodes = {node.label: node for node in nodes_of(known_of(record), record.parents[2])}
    assert set(nodes) == {"stage1", "hints", "<stage 2>", "report", "best.safetensors", "2 predictions"}
    assert nodes["best.safetensors"].after == ["stage1"]
    assert nodes["hints"].after == [nodes["best.safetensors"].key]
    assert nodes["<stage 2>"].after == [nodes["2 predictions"].key]
    assert nodes["stage1"].reads == "annotations"
    assert "wwwwwwwwwwww" not in nodes["stage1"].title and "dddd" not in nodes["stage1"].title
    assert "/data/train.json" in nodes["stage1"].title


def test_states() -> None:
    assert state_of({}) == "not done"
    assert state_of({"outputs": None}) == "under way"
    assert state_of({"outputs": None, "failed": "x"}) == "failed"
    assert state_of({"outputs": {}, "last": "ran"}) == "ran"


def test_the_page_stands_alone(record: Path) -> None:
    page = write_page(record)
    assert page == record.with_suffix(".html")
    text = page.read_text("utf-8")
    assert "4 stages: 1 done in the last run, 1 up to date" in text
    assert "&lt;stage 2&gt;" in text and "<stage 2>" not in text
    assert not re.search(r"(src|href)=\"(http|//)", text)
    assert "no space" in text
    svg = re.search(r"<svg.*?</svg>", graph_section(known_of(record), record), re.DOTALL)
    assert svg is not None
    tree = ElementTree.fromstring(svg.group())
    assert len(tree.findall("g")) == 6 and len(tree.findall("path")) == 5
    assert all(group.find("title") is not None for group in tree.findall("g"))


def test_layers_run_downwards_and_nodes_do_not_overlap() -> None:
    after = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["a", "d"]}
    layout = arranged(after, {"a"}, width=100, gap=10)
    place = {key: number for number, row in enumerate(layout.rows) for key in row}
    assert all(place[before] < place[key] for key, befores in after.items() for before in befores)
    for row in layout.rows:
        own = sorted(layout.x[key] for key in row if key in after)
        assert all(right - left >= 110 for left, right in pairwise(own))
    assert [len(chain) for chain in layout.chains if chain[0] == "a" and chain[-1] == "e"] == [4]
    assert min(layout.x.values()) >= 0 and max(layout.x.values()) <= layout.width


def test_an_empty_graph() -> None:
    assert arranged({}, set(), 10, 1).width == 0
