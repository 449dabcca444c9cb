"""How fast and how small scoring is: `lavis score`, and the same definition written as loops.

    python -m benchmarks.score            1,550 queries; 100,000 queries for the memory
    python -m benchmarks.score --quick    the same, with 20,000 and 150 queries for memory and loops

Speed: all figures of QVHighlights (four lengths, ten overlaps, three ratings) from files to figures, once without what
Python and imports take, once as the whole command. The files are the published sample where `$LAVIS_TEST_DATA` (or
`../shared/data` beside the checkout) has it, made up in the same sizes elsewhere. Memory: the peak of a process that
scores made-up files of ten windows a query. Loops: one query, threshold and prediction at a time, in one process, as
the original does in eight; both must agree in every digit.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._common import ROOT, Report, best_seconds, options
from benchmarks._scoring_loops import NUM_CLIPS, Row, loops, made_up
from lavis.scoring.scorer import score

CPU, COMMAND, MEMORY, RATIO = 0.5, 2.5, 500.0, 5.0
"""Bars: CPU seconds after import, wall seconds of the command, MB, times as fast as loops."""

QUERIES, MANY, FEW = 1550, 100_000, 20_000
_PEAK = """
import sys
from lavis.scoring.scorer import score
def peak():
    import resource
    try:  # of this process alone; what getrusage tells has the memory of the process that started it, too
        rows = open("/proc/self/status").read().splitlines()
        return next(int(row.split()[1]) / 1000 for row in rows if row.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
start = peak()
report = score(sys.argv[1], sys.argv[2], sys.argv[3], missing="zero")
print(peak(), start, report.pairs.tally.scored)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=())
    parsed = parser.parse_args(arguments)
    report = Report("score", parsed)
    repeats = parsed.repeats or 3
    with tempfile.TemporaryDirectory() as folder:
        predictions, truth = _files(report, Path(folder))
        _speed(report, predictions, truth, repeats)
        _command(report, predictions, truth, repeats)
        _memory(report, Path(folder), FEW if parsed.quick else MANY)
    _against_loops(report, 150 if parsed.quick else QUERIES, repeats)
    return report.finish()


def _files(report: Report, folder: Path) -> tuple[Path, Path]:
    """The published sample, or files of its size."""
    data = Path(os.environ.get("LAVIS_TEST_DATA") or ROOT.parent / "shared" / "data") / "qvhighlights"
    sample = data / "sample_val_preds.jsonl", data / "highlight_val_release.jsonl"
    if all(path.is_file() for path in sample):
        report.line(f"QVHighlights: the published sample of {QUERIES:,} queries")
        return sample
    report.line(f"QVHighlights: {QUERIES:,} made-up queries in the sizes of the validation split")
    predictions, truths = made_up(QUERIES)
    return _written(folder / "predictions.jsonl", predictions), _written(folder / "truth.jsonl", truths)


def _speed(report: Report, predictions: Path, truth: Path, repeats: int) -> None:
    wall, cpu = best_seconds(lambda: score("qvhighlights", predictions, truth), repeats)
    report.line(f"from files to all figures, best of {repeats}: {cpu:.3f} s CPU, {wall:.3f} s wall")
    _, more = best_seconds(lambda: score("qvhighlights", predictions, truth, intervals=True), repeats)
    report.line(f"the same with 95 % intervals: {more:.3f} s CPU")
    report.bar("CPU seconds after import", cpu, most=CPU)


def _command(report: Report, predictions: Path, truth: Path, repeats: int) -> None:
    command = [sys.executable, "-m", "lavis.cli", "score", "qvhighlights"]
    command += ["--predictions", str(predictions), "--annotations", str(truth)]
    walls, cpus = [], []
    for _ in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    report.line(f"the whole command, best of {repeats}: {min(walls):.2f} s wall, {min(cpus):.2f} s CPU")
    report.bar("wall seconds of the command", min(walls), most=COMMAND)


def _memory(report: Report, folder: Path, num_queries: int) -> None:
    predictions, truth = folder / "many.jsonl", folder / "many_truth.jsonl"
    _written(predictions, (row for row, _ in _many(num_queries)))
    _written(truth, (row for _, row in _many(num_queries)))
    size = predictions.stat().st_size / 1e6
    report.line(f"memory: {num_queries:,} queries of ten windows, {size:.0f} MB of predictions")
    for protocol in ("moment_retrieval", "qvhighlights"):
        command = [sys.executable, "-c", _PEAK, protocol, str(predictions), str(truth)]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        peak, imported, scored = map(float, done.stdout.split())
        assert scored == num_queries
        report.line(f"{protocol}: {peak:.0f} MB at the peak, {imported:.0f} MB of it imports, {seconds:.1f} s")
        # What imports take does not shrink with the number of queries.
        report.bar(f"peak MB of {protocol}", peak, most=min(MEMORY, imported + MEMORY * num_queries / MANY))


def _many(num_queries: int) -> Iterator[tuple[Row, Row]]:
    """Queries with ten windows each, three queries a video."""
    for number in range(num_queries):
        start = number * 7 % 120
        ranked = [[(start + 3 * k) % 130, (start + 3 * k) % 130 + 10 + k, round(1 - k / 10, 4)] for k in range(10)]
        query = {"qid": number, "query": f"query number {number}", "vid": f"video_{number // 3:06d}"}
        yield (
            {**query, "pred_relevant_windows": ranked},
            {**query, "duration": 150, "relevant_windows": [[start, start + 12]]},
        )


def _against_loops(report: Report, num_queries: int, repeats: int) -> None:
    predictions, truths = made_up(num_queries)
    ours, plain = score("qvhighlights", predictions, truths).figures["brief"], loops(predictions, truths)
    report.line(f"loops: {num_queries:,} queries, {NUM_CLIPS} clips each, {len(plain)} figures compared, one process")
    report.same("all figures", {name: ours[name] for name in plain}, plain)
    fast, _ = best_seconds(lambda: score("qvhighlights", predictions, truths), repeats)
    slow, _ = best_seconds(lambda: loops(predictions, truths), repeats if num_queries < QUERIES else 1)
    report.line(f"lavis   {fast:8.3f} s, rows read and checked")
    report.line(f"loops   {slow:8.3f} s")
    report.bar("ratio", slow / fast, least=RATIO)


def _written(path: Path, rows: Sequence[Any] | Iterator[Any]) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path


if __name__ == "__main__":
    sys.exit(main())
