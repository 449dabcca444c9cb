"""Kept tensors: limits, files that cannot be used, several processes, what loader processes are told."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lavis.common.feature_folder import FORMAT, FeatureFolder
from lavis.common.feature_index import FeatureIndex, entry_name
from lavis.common.feature_store import CacheConfig, FeatureStore

SHAPE = {"hidden": (5, 4)}
KIB = {"hidden": (256,)}


def entry(value: float = 1.0, shape: tuple[int, ...] = (5, 4)) -> dict[str, Tensor]:
    return {"hidden": torch.full(shape, value), "times": torch.arange(shape[0], dtype=torch.float64)}


def store(folder: Path | None = None, memory_mb: int = 0, disk_gb: float = 1.0) -> FeatureStore:
    return FeatureStore(CacheConfig(memory_mb, None if folder is None else str(folder), disk_gb))


def name(number: int = 0) -> str:
    return entry_name(f"video {number}", "state")


def test_memory_and_disk(tmp_path: Path) -> None:
    own = store(tmp_path, memory_mb=1)
    assert own.get(name(), SHAPE) is None
    own.put(name(), entry(), lasting=True)
    for _ in range(2):
        found = own.get(name(), SHAPE)
        assert found is not None
        assert torch.equal(found["hidden"], entry()["hidden"])
    another = store(tmp_path, memory_mb=1)
    assert another.get(name(), SHAPE) is not None
    assert another.get(name(), SHAPE) is not None
    assert (own.counts.memory, own.counts.disk) == (2, 0)
    assert (another.counts.memory, another.counts.disk) == (1, 1)


def test_what_does_not_last_stays_in_memory(tmp_path: Path) -> None:
    own = store(tmp_path, memory_mb=1)
    own.put(name(), entry(), lasting=False)
    assert own.get(name(), SHAPE) is not None
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_types_are_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    wanted = torch.randn(5, 4).to(dtype)
    store(tmp_path).put(name(), {"hidden": wanted}, lasting=True)
    found = store(tmp_path).get(name(), SHAPE)
    assert found is not None
    assert found["hidden"].dtype == dtype
    assert torch.equal(found["hidden"], wanted)


def test_no_file_is_left_half_written(tmp_path: Path) -> None:
    store(tmp_path).put(name(), entry(), lasting=True)
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file == tmp_path / name()[:2] / name()[2:4] / f"{name()}.safetensors"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(500))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def other_version(path: Path) -> None:
    save_file(entry(), path, {"format": "lavis-features-0", "name": path.stem})


def foreign(path: Path) -> None:
    save_file(entry(), path)


def moved(path: Path) -> None:
    save_file(entry(), path, {"format": FORMAT, "name": name(7)})


def other_shape(path: Path) -> None:
    path.unlink()
    FeatureFolder(path.parents[2], 10**9).write(path.stem, entry(shape=(5, 3)))


def other_content(path: Path) -> None:
    path.unlink()
    FeatureFolder(path.parents[2], 10**9).write(path.stem, {"tokens": torch.ones(5, 4)})


SPOILT = [cut, garbage, empty, flipped, other_version, foreign, moved, other_shape, other_content]


@pytest.mark.parametrize("spoil", SPOILT)
def test_spoilt_files_are_named_removed_and_made_anew(
    tmp_path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    own = store(tmp_path)
    for number in range(2):
        own.put(name(number), entry(), lasting=True)
        spoil(own.disk.path(name(number)))  # type: ignore[union-attr]
    with caplog.at_level("WARNING"):
        assert [own.get(name(number), SHAPE) for number in range(2)] == [None, None]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "cannot be used" in warning
    assert name(0) in warning
    assert not list(tmp_path.rglob("*.safetensors"))
    own.put(name(), entry(2.0), lasting=True)
    found = own.get(name(), SHAPE)
    assert found is not None
    assert found["hidden"][0, 0] == 2.0


def test_the_folder_has_a_limit_and_what_is_unused_goes_first(tmp_path: Path) -> None:
    own = store(tmp_path, disk_gb=10_000 / 1e9)
    now = time.time()
    for number in range(5):
        own.put(name(number), {"hidden": torch.ones(256)}, lasting=True)  # about 1.2 kB
        os.utime(own.disk.path(name(number)), (now - 100 + number, now - 100 + number))  # type: ignore[union-attr]
    assert own.get(name(0), KIB) is not None
    for number in range(5, 9):
        own.put(name(number), {"hidden": torch.ones(256)}, lasting=True)
    files = list(tmp_path.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 10_000
    held = [number for number in range(9) if own.disk.holds(name(number))]  # type: ignore[union-attr]
    assert 0 in held, "it was used last"
    assert 1 not in held
    assert 8 in held


def test_files_of_others_are_not_touched(tmp_path: Path) -> None:
    others = [
        tmp_path / "notes.txt",
        tmp_path / "ab" / "cd" / "weights.safetensors",
        tmp_path / "src" / "a.safetensors",
    ]
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(b"x" * 5000)
    own = store(tmp_path, disk_gb=3000 / 1e9)
    for number in range(6):
        own.put(name(number), {"hidden": torch.ones(256)}, lasting=True)
    assert all(other.is_file() for other in others)
    assert sum(own.disk.holds(name(number)) for number in range(6)) <= 2  # type: ignore[union-attr]


def test_left_over_parts_of_killed_writers_go(tmp_path: Path) -> None:
    own = store(tmp_path)
    own.put(name(), entry(), lasting=True)
    folder = own.disk.path(name()).parent  # type: ignore[union-attr]
    old, new = folder / ".x.1.ab.tmp", folder / ".x.2.ab.tmp"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    store(tmp_path).put(name(1), entry(), lasting=True)
    assert (old.exists(), new.exists()) == (False, True)


def test_an_entry_larger_than_the_limit_is_not_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = store(tmp_path, disk_gb=100 / 1e9)
    with caplog.at_level("WARNING"):
        own.put(name(), entry(), lasting=True)
        own.put(name(1), entry(), lasting=True)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert caplog.text.count("raise disk_gb") == 1


def test_an_entry_that_another_process_removes_while_it_is_opened_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = FeatureFolder(tmp_path, 10**6)
    own.write(name(), entry())
    opened = torch.UntypedStorage.from_file

    def late(*given: Any, **more: Any) -> Any:
        own.path(name()).unlink()
        return opened(*given, **more)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", late)
    assert own.read(name()) is None
    assert not own.closed


def test_equal_entries_are_equal_files(tmp_path: Path) -> None:
    for number in range(12):
        FeatureFolder(tmp_path / str(number), 10**6).write(name(), entry())
    (data,) = {path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    assert b'{"__metadata__":{"format":' in data
    found = FeatureFolder(tmp_path / "3", 10**6).read(name())
    assert found is not None and torch.equal(found["hidden"], entry()["hidden"])


def test_a_full_disk_stops_writing_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = store(tmp_path, memory_mb=1)
    own.put(name(), entry(), lasting=True)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with caplog.at_level("WARNING"):
        for number in range(1, 4):
            own.put(name(number), entry(), lasting=True)
    assert caplog.text.count("No space left on device") == 1
    assert all(own.get(name(number), SHAPE) is not None for number in range(4))
    assert store(tmp_path).get(name(), SHAPE) is not None


def test_a_place_that_is_no_folder_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    own = store(tmp_path / "file", memory_mb=1)
    with caplog.at_level("WARNING"):
        for number in range(2):
            own.put(name(number), entry(), lasting=True)
            assert own.get(name(number), SHAPE) is not None
    assert caplog.text.count("cannot be written") == 1


def work(folder: Path) -> list[bool]:
    """Writes, reads and cleans up beside others; says of each look-up whether it was right."""
    torch.set_num_threads(1)
    own = store(folder, disk_gb=20_000 / 1e9)
    right = []
    for round_ in range(3):
        for number in range(20):
            found = own.get(name(number), KIB)
            right.append(found is None or bool((found["hidden"] == number).all()))
            own.put(name(number), {"hidden": torch.full((256,), float(number))}, lasting=True)
            if round_ == 1 and number % 7 == 0:
                own.disk.path(name(number)).unlink(missing_ok=True)  # type: ignore[union-attr]
    return right


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        results = list(pool.map(work, [tmp_path] * 2))
    assert all(all(right) for right in results)
    assert not list(tmp_path.rglob("*.tmp"))
    own = store(tmp_path)
    sizes = [file.stat().st_size for file in tmp_path.rglob("*.safetensors")]
    assert sum(sizes) <= 2 * 20_000
    for file in tmp_path.rglob("*.safetensors"):
        assert own.disk.read(file.stem) is not None  # type: ignore[union-attr]


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="memory_mb must be at least 0"):
        CacheConfig(memory_mb=-1)
    with pytest.raises(ValueError, match="disk_gb must be above 0"):
        CacheConfig(disk_gb=0)


def test_loader_processes_see_what_is_in_memory() -> None:
    own = store(memory_mb=1)
    own.index.publish(True, 0, "state")
    seen: FeatureIndex = own.index
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(seen.find, "video 0", True).result() is None
        own.put(name(), entry(), lasting=False)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(seen.find, "video 0", True).result() == name()
        assert pool.submit(seen.find, "video 0", False).result() is None
    for number in (1, 2):
        own.put(name(number), entry(shape=(12_000, 13)), lasting=False)
    assert seen.find("video 0", True) is None, "it had to make room"


def test_loader_processes_see_what_is_on_disk(tmp_path: Path) -> None:
    own = store(tmp_path)
    own.index.publish(True, 1, "state")
    own.put(name(), entry(), lasting=True)
    found = own.index.find("video 0", True)
    assert found == name()
    assert own.index.times(found) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert own.index.find("video 1", True) is None
    own.index.publish(True, 1, "")
    assert own.index.find("video 0", True) is None


def test_a_model_is_asked_where_it_is_and_does_not_travel(tmp_path: Path) -> None:
    own, asked = store(tmp_path), []
    own.put(name(), entry(), lasting=True)
    own.index.ask = lambda: asked.append(own.index.publish(False, 0, "state"))
    assert own.index.find("video 0", False) == name()
    assert own.index.find("video 0", False) == name()
    assert len(asked) == 1
    from multiprocessing.reduction import ForkingPickler

    assert own.index.__getstate__()["ask"] is None
    assert len(bytes(ForkingPickler.dumps(own.index))) < 5000
    pickle.dumps(CacheConfig())


def test_several_writers_stay_near_the_limit_together(tmp_path: Path) -> None:
    limit, writers = 200_000, [store(tmp_path, disk_gb=200_000 / 1e9) for _ in range(4)]
    most = 0
    for number in range(300):
        writers[number % 4].put(name(number), {"hidden": torch.full((256,), float(number))}, lasting=True)
        if number % 10 == 0:
            most = max(most, sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")))
    assert most <= limit * (1 + 4 / 64)


def test_a_folder_that_may_only_be_read_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store(tmp_path).put(name(), entry(), lasting=True)
    own = store(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for place, call in ((os, "utime"), (os, "replace"), (Path, "mkdir"), (Path, "unlink"), (Path, "is_file")):
        monkeypatch.setattr(place, call, refuse)
    with caplog.at_level("WARNING"):
        assert own.get(name(), SHAPE) is not None
        own.put(name(1), entry(), lasting=True)
        own.put(name(2), entry(), lasting=True)
        assert own.get(name(1), SHAPE) is None
        assert own.get(name(), {"hidden": (5, 5)}) is None
    assert caplog.text.count("cannot be written (Permission denied)") == 1


def test_a_thread_that_reads_ahead_does_not_ask_the_model() -> None:
    own, asked = store(memory_mb=1), []
    own.index.ask = lambda: asked.append(torch.is_grad_enabled())
    with torch.no_grad():
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(own.index.find, "video 0", False).result() is None
        assert not asked, "it would be told of gradients and of another precision"
        assert own.index.find("video 0", False) is None
    assert asked == [False]


def test_what_was_written_to_in_place_is_not_found_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory, both = store(memory_mb=1), store(tmp_path, memory_mb=1)
    with caplog.at_level("WARNING"):
        for own in (memory, both):
            made = entry()
            own.put(name(), made, lasting=True)
            assert own.get(name(), SHAPE) is not None
            made["hidden"].mul_(2)
            found = own.get(name(), SHAPE)
            assert own is both or found is None
            assert len(own) == (own is both)
            assert (own.size > 0) == (own is both)
        assert found is not None
        assert torch.equal(found["hidden"], entry()["hidden"])
    assert "written to in place" in caplog.text
