"""What the benchmarks share: their options, timing, the arithmetic a machine can do, and a report with bars.

A bar is a figure that the project promises. A benchmark prints every bar with what was measured, and ends with exit
status 1 where one is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("tiny", "middle", "published")
SIDES = {"cuda": (4096, 8192, 16384), "cpu": (1024, 2048)}
"""Of the square matrices whose products are timed, by kind of device."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def options(doc: str | None, *, sizes: Sequence[str] = SIZES, default: str = "middle") -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have; without ``sizes`` it is about no model, and runs on a CPU."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller and shorter, under a minute")
    parser.set_defaults(device="cpu", size=None)
    if sizes:
        parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        parser.add_argument("--size", choices=sizes, default=default, help="of the model (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads; by default OMP_NUM_THREADS, or all cores")
    parser.add_argument("--repeats", type=int, help="timings of which the median counts")
    parser.add_argument("--output", type=Path, help="also write the text to this file")
    return parser


class Report:
    """Lines that are printed as they come, and bars.

    Args:
        name: of the benchmark.
        parsed: its options; ``threads`` is put into force here.
    """

    def __init__(self, name: str, parsed: argparse.Namespace) -> None:
        torch.set_num_threads(parsed.threads or int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1)
        parsed.threads = torch.get_num_threads()
        self.output: Path | None = parsed.output
        self.lines: list[str] = []
        self.missed: list[str] = []
        about = f" --size {parsed.size} --device {parsed.device}" if parsed.size else ""
        self.line(f"python -m benchmarks.{name}{about}{' --quick' if parsed.quick else ''}")
        self.line(conditions(parsed.device))

    def line(self, text: str = "") -> None:
        """Prints a line and keeps it for the file."""
        print(text, flush=True)
        self.lines.append(text)

    def bar(self, what: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
        """Compares a figure with its bar; exactly one of ``least`` and ``most`` is given."""
        assert (least is None) != (most is None)
        held = value >= least if least is not None else value <= most  # type: ignore[operator]
        limit = f"at least {least:g}" if least is not None else f"at most {most:g}"
        self.line(f"bar: {what}: {value:.4g}, wanted {limit}: {'held' if held else 'MISSED'}")
        if not held:
            self.missed.append(what)

    def same(self, what: str, left: Any, right: Any) -> None:
        """A bar for results that must be equal to the bit."""
        self.line(f"bar: {what}: {'equal' if left == right else f'MISSED: {left} and {right}'}")
        if left != right:
            self.missed.append(what)

    def finish(self) -> int:
        """Writes the file; the exit status."""
        if self.output:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        return 1 if self.missed else 0


def conditions(device: str) -> str:
    """Machine and versions in one line."""
    if device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit(f"torch {torch.__version__} sees no GPU; leave out --device cuda")
        index = torch.cuda.current_device()
        where = f"{torch.cuda.get_device_name(index)}, {torch.cuda.get_device_properties(index).total_memory >> 30} GiB"
    else:
        where = f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{where}{load}; Python {platform.python_version()}, torch {torch.__version__}"


def processor() -> str:
    """The processor's name as the system reports it."""
    try:
        rows = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        rows = []
    named = next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def synchronize(device: str) -> None:
    """Waits until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(call: Callable[[], Any], device: str, *, busy: bool = False) -> float:
    """Wall seconds of one call; with ``busy`` on a CPU, the seconds that this process computed."""
    clock = time.process_time if busy and device == "cpu" else time.perf_counter
    synchronize(device)
    start = clock()
    call()
    synchronize(device)
    return clock() - start


def compare(
    calls: Mapping[str, Callable[[], Any]], repeats: int, *, device: str = "cpu", busy: bool = False
) -> dict[str, float]:
    """Median seconds of each call after one to warm up; they take turns, so that a slow minute hits them all.

    Args:
        calls: by name.
        repeats: rounds after the warm-up.
        device: that the calls compute on.
        busy: on a CPU, seconds that this process computed, not those it waited while others did.
    """
    for call in calls.values():
        call()
    rounds = [{name: seconds_of(call, device, busy=busy) for name, call in calls.items()} for _ in range(repeats)]
    return {name: statistics.median(row[name] for row in rounds) for name in calls}


def best_seconds(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Least wall and processor seconds of ``repeats`` calls: what a machine that others use can do."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def matmul_peak(device: str, precision: str = "fp32") -> float:
    """FLOP/s of the fastest product of square matrices seen: what arithmetic can cost at least on this machine.

    Asked before and after what is compared with it, since other work on the machine may slow one of them.
    """
    best = 0.0
    for side in SIDES[device]:
        left, right = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
        left @ right
        fastest = min(seconds_of(lambda a=left, b=right: a @ b, device) for _ in range(8))
        best = max(best, 2 * side**3 / fastest)
    return best


def flops_of(call: Callable[[], Any]) -> int:
    """Floating point operations of the products in one call, 2 for a multiply and add."""
    with FlopCounterMode(display=False, custom_mapping=_on_cpu()) as counter:
        call()
    return int(counter.get_total_flops())


def _on_cpu() -> dict[Any, Any]:
    """torch counts fused attention on GPUs only."""
    fused = torch.ops.aten

    def forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return int(sdpa_backward_flop_count(grad, query, key, value))

    return {
        fused._scaled_dot_product_flash_attention_for_cpu: forward,
        fused._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
