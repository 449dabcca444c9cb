"""The parts that benchmarks share: bars decide the exit status, arithmetic is counted, runs are timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
import torch.nn.functional as F

from benchmarks._common import SIDES, Report, compare, flops_of, matmul_peak, options
from benchmarks._plot import Line, loglog
from benchmarks._runs import copies


def report(*arguments: str) -> Report:
    return Report("test", options("Doc.").parse_args(["--threads", "1", *arguments]))


@pytest.mark.parametrize(
    ("bars", "status"),
    [([{"least": 2.0}], 0), ([{"most": 2.0}], 0), ([{"least": 2.1}], 1), ([{"most": 1.9}], 1), ([], 0),
     ([{"least": 1.0}, {"least": 3.0}], 1)],
)  # fmt: skip
def test_a_missed_bar_ends_with_status_1(bars: list[dict[str, float]], status: int, tmp_path: Path) -> None:
    written = report("--output", str(tmp_path / "new" / "text.txt"))
    for bar in bars:
        written.bar("ratio", 2.0, **bar)
    assert written.finish() == status
    assert (tmp_path / "new" / "text.txt").read_text() == "\n".join(written.lines) + "\n"
    assert sum("MISSED" in line for line in written.lines) == len(written.missed)


def test_results_that_differ_miss_a_bar() -> None:
    written = report()
    written.same("losses", [1.0, 2.0], [1.0, 2.0])
    assert written.finish() == 0
    written.same("losses", [1.0, 2.0], [1.0, 2.5])
    assert written.finish() == 1


def test_conditions_name_machine_and_versions() -> None:
    text = "\n".join(report("--quick").lines)
    assert "python -m benchmarks.test --size middle --device cpu --quick" in text
    assert f"torch {torch.__version__}" in text and "1 threads" in text


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="sees no GPU"):
        report("--device", "cuda")


def test_products_are_counted_with_attention_on_a_cpu() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    assert flops_of(lambda: a @ b) == 2 * 3 * 4 * 5
    q = torch.randn(2, 2, 7, 8, requires_grad=True)
    forward = 2 * 2 * 2 * (7 * 7 * 8) * 2
    assert flops_of(lambda: F.scaled_dot_product_attention(q, q, q)) == forward
    # The backward pass computes the scores anew and has four products of their size.
    assert flops_of(lambda: F.scaled_dot_product_attention(q, q, q).sum().backward()) == forward + 5 * forward // 2


def test_compared_calls_take_turns() -> None:
    order: list[str] = []
    calls: dict[str, Any] = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    seconds = compare(calls, 2)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert set(seconds) == {"a", "b"} and all(value >= 0 for value in seconds.values())


def test_some_product_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIDES, "cpu", (32, 64))
    assert matmul_peak("cpu") > 0


def test_copies_show_the_same_and_differ(tmp_path: Path) -> None:
    from lavis.processors.readers.pyav import PyAVReader
    from tests.video_factory import write_video

    video = write_video(tmp_path / "clip.mp4")
    one, two = copies(video, tmp_path / "copies", 2)
    assert one.read_bytes() != two.read_bytes()
    reader = PyAVReader()
    first, second = (reader.read(path, [0, 3, 23])[0] for path in (one, two))
    assert torch.equal(first, second) and reader.probe(one).num_frames == 24


def test_the_plot_is_well_formed() -> None:
    lines = [Line("a < b", [(10, 0.2), (100, 2.0), (1000, 20.0)]), Line("c", [(10, 0.1), (1000, 3.0)])]
    root = ElementTree.fromstring(loglog("Title", "queries", "seconds", lines))
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "c", "Title", "queries", "seconds", "1,000", "0.1", "100", "linear"} <= set(texts)
