"""The notebook runs from top to bottom on real inputs, without a screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROWS = 20


@pytest.fixture
def data(data_dir: Path, tmp_path: Path) -> Path:
    """The first rows of the real releases and items, laid out as the notebook expects."""
    qvhighlights, charades = tmp_path / "qvhighlights", tmp_path / "charades"
    for folder in (qvhighlights, charades):
        (folder / "release").mkdir(parents=True)
        (folder / "annotations" / "items").mkdir(parents=True)

    def head(name: str) -> str:
        return "".join((data_dir / name).read_text().splitlines(keepends=True)[:ROWS])

    release = head("qvhighlights/highlight_val_release.jsonl")
    (qvhighlights / "release" / "highlight_val_release.jsonl").write_text(release)
    items = (data_dir / "qvhighlights" / "calce_items_val.json").read_text()
    (qvhighlights / "annotations" / "items" / "val.json").write_text(items)
    release = head("charades/charades_test_release.jsonl")
    (charades / "release" / "charades_test_release.jsonl").write_text(release)
    rows = json.loads((data_dir / "charades" / "calce_test.json").read_text())
    nouns = {row["qid"]: {"query": row["query"], "items": row["items"]} for row in rows}
    (charades / "annotations" / "items" / "test.json").write_text(json.dumps(nouns))
    return tmp_path


def test_notebook(root: Path, data_dir: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("LAVIS_DATA", str(data))
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("IPYTHONDIR", str(data / "ipython"))
    notebook = nbformat.read(root / "process_data" / "data_preprocess.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(root / "process_data")}}
    )
    client.execute()
    shown = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert shown.count(f"{ROWS} queries on") == 2
    published = json.loads((data_dir / "charades" / "calce_test.json").read_text())[:ROWS]
    assert (data / "charades" / "annotations" / "test.json").read_text() == json.dumps(published)
    assert len(json.loads((data / "qvhighlights" / "annotations" / "val.json").read_text())) == ROWS


def test_notebook_is_kept_without_outputs(root: Path) -> None:
    notebook = json.loads((root / "process_data" / "data_preprocess.ipynb").read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
