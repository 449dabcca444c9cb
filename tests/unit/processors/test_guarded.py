"""Reading in a process of its own: the same frames, and whatever a file does costs one error."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.processors.readers import _decode_process
from lavis.processors.readers._decode_process import DecodeProcess, GuardError, borrowed, end_all
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.readers.frame_folder import FrameFolderReader
from lavis.processors.readers.guarded import GuardedReader
from lavis.processors.readers.pyav import PyAVReader
from lavis.processors.samplers import Head
from lavis.processors.transforms import ClipEval
from lavis.processors.video_processor import VideoProcessor
from lavis.processors.view import Phases, View
from lavis.structures import VideoSample
from tests.bad_readers import BadReader
from tests.video_factory import damage, truncate, write_images, write_video

MEMORY_MB = 256


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", rotation=90)


@pytest.fixture(scope="module")
def guarded() -> GuardedReader:
    return GuardedReader(PyAVReader(), memory_mb=MEMORY_MB)


def bad(clip: Path, folder: Path, kind: str) -> Path:
    return Path(shutil.copy(clip, folder / f"{kind}.mp4"))


def pid() -> int:
    with borrowed(MEMORY_MB) as process:
        return process.pid


def test_the_same_as_without(clip: Path, guarded: GuardedReader) -> None:
    plain = PyAVReader()
    info = guarded.probe(clip)
    assert info == plain.probe(clip)
    assert type(info.times) is list and info.index is None
    for size in (None, (40, 50)):
        frames, times = guarded.read(clip, [17, 3, 3, 0, 23], size=size, info=info)
        expected, expected_times = plain.read(clip, [17, 3, 3, 0, 23], size=size)
        assert torch.equal(frames, expected) and times == expected_times
        assert frames.dtype == torch.uint8 and frames.shape == expected.shape
    frames += 1  # they may be written to
    assert guarded.read(clip, [])[0].shape == plain.read(clip, [])[0].shape
    with pytest.raises(ValueError, match="frames 0 to 23"):
        guarded.read(clip, [24])


def test_paths_are_those_of_the_caller(clip: Path, guarded: GuardedReader, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded.probe(clip)
    monkeypatch.chdir(clip.parent)
    assert guarded.probe("clip.mp4").num_frames == 24
    (clip.parent / "text.mp4").write_text("no video")
    with pytest.raises(VideoDecodeError, match=r"^text\.mp4: not a readable video"):
        guarded.probe("text.mp4")


def test_folders_of_frames(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames")
    plain = FrameFolderReader()
    frames, times = GuardedReader(plain, memory_mb=MEMORY_MB).read(folder, [0, 2], size=(32, 32))
    expected, expected_times = plain.read(folder, [0, 2], size=(32, 32))
    assert torch.equal(frames, expected) and times == expected_times


def test_kept_features_know_no_difference(clip: Path, guarded: GuardedReader) -> None:
    assert repr(guarded) == repr(PyAVReader())
    assert guarded.fingerprint(clip) == PyAVReader().fingerprint(clip)
    assert GuardedReader(PyAVReader(on_truncated="warn")).on_truncated == "warn"


def test_a_guarded_view_names_its_frames_alike(clip: Path) -> None:
    keys = []
    for reader in (PyAVReader(), GuardedReader(PyAVReader(), memory_mb=MEMORY_MB), PyAVReader(interpolation="area")):
        view = View(Head(4), Phases(ClipEval(16), ClipEval(16)), reader)
        sample = VideoSample("q", str(clip), "query", 3.0)
        keys.append(VideoProcessor({"frames": view})(sample, train=False)["frames"].key)
    assert keys[0] is not None and keys[0] == keys[1] != keys[2]


def broken(kind: str, clip: Path, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "directory":
        path.mkdir()
    elif kind == "truncated":
        truncate(write_video(folder / "whole.mp4", num_frames=90, options={"movflags": "faststart"}), path)
    elif kind == "damaged":
        damage(write_video(folder / "whole.mp4", num_frames=90), path)
    elif kind != "missing":
        path.write_text("<html>not found</html>" if kind == "text" else "")
    return path


@pytest.mark.parametrize("kind", ["empty", "text", "directory", "missing", "truncated", "damaged"])
def test_errors_are_those_of_the_reader(kind: str, clip: Path, guarded: GuardedReader, tmp_path: Path) -> None:
    path = broken(kind, clip, tmp_path)
    with pytest.raises(VideoDecodeError) as expected:
        PyAVReader().read(path, range(60))
    guarded.probe(clip)
    before = pid()
    with pytest.raises(VideoDecodeError) as caught:
        guarded.read(path, range(60))
    assert str(caught.value) == str(expected.value)
    assert (caught.value.path, caught.value.cure) == (str(path), expected.value.cure)
    assert pid() == before  # which is ready for the next file


WORDS = {
    "hang": r"takes longer than 0\.5 s.*run\.decode\.seconds",
    "spin": r"takes longer than 0\.5 s",
    "alarm": r"takes longer than 60 s.*run\.decode\.seconds",
    "abort": r"to an end \(SIGABRT\)",
    "kill": r"to an end \(SIGKILL, as where memory runs out\)",
    "exit": r"to an end \(status 3\)",
    "grow": r"takes more than 256 MiB.*memory_mb",
}


@pytest.mark.parametrize(
    ("kind", "late"), [*((kind, False) for kind in WORDS), ("hang", True), ("abort", True), ("grow", True)]
)
def test_a_file_that_does_its_worst_costs_one_error(kind: str, late: bool, clip: Path, tmp_path: Path) -> None:
    path = bad(clip, tmp_path, kind)
    reader = GuardedReader(BadReader(late=late), seconds=0.5 if kind in ("hang", "spin") else 60, memory_mb=MEMORY_MB)
    with pytest.raises(VideoDecodeError, match=WORDS[kind]) as caught:
        reader.read(path, [3, 7])
    assert caught.value.path == str(path)
    patient = GuardedReader(BadReader(late=late), memory_mb=MEMORY_MB)
    assert torch.equal(patient.read(clip, [3, 7])[0], PyAVReader().read(clip, [3, 7])[0])


def test_other_faults_of_a_reader(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader = GuardedReader(BadReader(), memory_mb=MEMORY_MB)
    with pytest.raises(VideoDecodeError, match="the reader failed on it .RuntimeError: no such thing."):
        reader.probe(bad(clip, tmp_path, "fail"))
    with pytest.raises(ImportError, match="the package nothing"):
        reader.probe(bad(clip, tmp_path, "import"))
    reader.probe(bad(clip, tmp_path, "warn"))
    assert ("somewhere", "odd file warn.mp4") in [(row.name, row.getMessage()) for row in caplog.records]


def test_a_video_that_changes_between_index_and_frames(clip: Path, guarded: GuardedReader, tmp_path: Path) -> None:
    path = bad(clip, tmp_path, "growing")
    info = guarded.probe(path)
    write_video(path, num_frames=30)
    with pytest.raises(VideoDecodeError, match="changed while it was read"):
        guarded.read(path, [0], info=info)


def test_many_files_are_read_by_one_process(clip: Path, guarded: GuardedReader, tmp_path: Path) -> None:
    guarded.probe(clip)
    first = pid()
    paths = [bad(clip, tmp_path, f"copy{i}") for i in range(80)]  # more than it remembers the indices of
    infos = [guarded.probe(path) for path in paths]
    expected = PyAVReader().read(clip, [5], size=(16, 16))[0]
    for path, info in zip(paths, infos, strict=True):
        assert torch.equal(guarded.read(path, [5], size=(16, 16), info=info)[0], expected)
    assert pid() == first


def test_a_process_that_ended_while_idle_is_nobodys_fault(clip: Path, guarded: GuardedReader) -> None:
    guarded.probe(clip)
    first = pid()
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 600
    while any(process.pid == first and process.alive for process in _decode_process._idle):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert guarded.probe(clip).num_frames == 24
    assert pid() != first


def test_an_interrupted_question_leaves_no_stale_answer(clip: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.mp4", num_frames=9)
    with borrowed(MEMORY_MB) as process:
        request = {"do": "probe", "path": str(other)}
        with pytest.raises(TypeError):
            process.ask({**request, "unfit": object()}, b"", 60)
        assert not process.alive
    assert GuardedReader(PyAVReader(), memory_mb=MEMORY_MB).probe(clip).num_frames == 24


def _as_it_is(item: Any) -> Any:
    return item


class Clips(Dataset[Any]):
    def __init__(self, paths: list[Path], reader: GuardedReader) -> None:
        self.paths, self.reader = paths, reader

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.reader.read(self.paths[index], [1, 2], size=(16, 16))[0]
        except VideoDecodeError as error:
            return str(error)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_processes(method: str, clip: Path, tmp_path: Path) -> None:
    reader = GuardedReader(BadReader(), seconds=60, memory_mb=MEMORY_MB)
    assert reader.probe(clip).num_frames == 24  # this process has one of its own, which a fork must not use
    paths = [clip, bad(clip, tmp_path, "abort"), clip, clip]
    loader: Any = DataLoader(
        Clips(paths, reader), batch_size=None, num_workers=1, multiprocessing_context=method, collate_fn=_as_it_is
    )
    first, second, *rest = list(loader)
    expected = PyAVReader().read(clip, [1, 2], size=(16, 16))[0]
    assert all(torch.equal(frames, expected) for frames in (first, *rest))
    assert "SIGABRT" in second
    assert reader.probe(clip).num_frames == 24


PARENT = """
import sys, os
from lavis.processors.readers._decode_process import borrowed
from lavis.processors.readers.guarded import GuardedReader
from tests.bad_readers import BadReader
reader = GuardedReader(BadReader(), memory_mb=256)
reader.probe(sys.argv[1])
with borrowed(256) as process:
    print(process.pid, flush=True)
reader.probe(sys.argv[2])
"""


def test_no_process_outlives_its_parent(clip: Path, tmp_path: Path, root: Path) -> None:
    hanging = bad(clip, tmp_path, "hang")
    command = [sys.executable, "-c", PARENT, str(clip), str(hanging)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.2)  # until it hangs
        parent.kill()
    deadline = time.monotonic() + 600
    while running(child):
        assert time.monotonic() < deadline, "the decoding process is still there"
        time.sleep(0.02)


def test_one_that_nobody_watches_ends_by_itself(root: Path) -> None:
    program = (
        "from lavis.processors.readers._decode_child import _alarm\n"
        "from tests.bad_readers import misbehave\n"
        "with _alarm(60): pass\n"
        "with _alarm(0.2): misbehave('spin.mp4')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=root, timeout=600).returncode == -signal.SIGALRM


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def test_one_that_cannot_start_blames_no_file(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end_all()
    monkeypatch.setattr(_decode_process, "_PROGRAM", "raise SystemExit(7)")
    with pytest.raises(GuardError, match=r"cannot be started \(status 7\).*isolate=false"):
        GuardedReader(PyAVReader(), memory_mb=MEMORY_MB).probe(clip)


def test_a_reader_that_another_process_cannot_import(clip: Path) -> None:
    class Local(PyAVReader):
        pass

    Local.__module__, Local.__qualname__ = "__main__", "Local"
    sys.modules["__main__"].Local = Local  # type: ignore[attr-defined]
    try:
        with pytest.raises(ImportError, match="the reader cannot be made there"):
            GuardedReader(Local(), memory_mb=MEMORY_MB).probe(clip)
    finally:
        del sys.modules["__main__"].Local


def test_settings() -> None:
    node = {"name": "guarded", "reader": {"name": "pyav", "on_truncated": "warn"}, "seconds": 3}
    reader = build_part(registry.readers, node, "reader")
    assert reader == GuardedReader(PyAVReader(on_truncated="warn"), seconds=3.0)
    assert pickle.loads(pickle.dumps(reader)) == reader
    assert (
        build_part(registry.readers, {"name": "guarded", "reader": "frame_folder"}, "reader").reader
        == FrameFolderReader()
    )
    with pytest.raises(ValueError, match="guarded.seconds must be above 0"):
        GuardedReader(seconds=0)
    with pytest.raises(ValueError, match="guarded already"):
        GuardedReader(GuardedReader())
    with pytest.raises(ValueError, match=r"unknown video reader 'pyva' \(guarded.reader\)"):
        build_part(registry.readers, {"name": "guarded", "reader": "pyva"}, "reader")


def test_processes_that_are_let_go_of_end() -> None:
    process = DecodeProcess(MEMORY_MB)
    number = process.pid
    process.end()
    del process
    gc.collect()
    for _ in range(2000):
        if not running(number):
            return
        time.sleep(0.05)
    raise AssertionError("it still runs")
