"""Whether memory grows with the number of videos that were opened.

    python -m benchmarks.opens
    python -m benchmarks.opens --quick

Small files of several containers and codecs are probed and read in turn, through each reader that is installed, each in
a process of its own: 200 times to warm up, then 2,000 times more. Every tenth file is a broken one, which ends in a
typed error. What counts is the resident memory of the process after warming up and after the last open, once Python's
garbage is collected and the C library has given back what is free (what it keeps goes up and down by megabytes). Bar,
for the default reader (pyav): at most 8 MiB more. The others are information.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from benchmarks._common import Report, options
from benchmarks._make_odd_videos import make
from benchmarks._true_times import without_warnings
from benchmarks.timestamps import DEFAULT, PACKAGES
from lavis.common.registry import registry
from lavis.processors.readers.base import VideoDecodeError

GROWTH_MIB = 8.0
SIZE = (40, 60)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options(__doc__, sizes=())
    parser.add_argument("--warm", type=int, default=200, help="opens before the first look (default: %(default)s)")
    parser.add_argument("--opens", type=int, help="opens after it (default: 2000, with --quick 300)")
    parser.add_argument("--child", nargs=2, metavar=("READER", "FOLDER"), help="measure here, and print it as JSON")
    parsed = parser.parse_args(arguments)
    parsed.threads = 1
    opens = parsed.opens or (300 if parsed.quick else 2000)
    if parsed.child:
        with without_warnings():
            found = measure(parsed.child[0], Path(parsed.child[1]), parsed.warm, opens)
        print(json.dumps(found))
        return 0
    report = Report("opens", parsed)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), per_kind=1)
        first, last = f"{parsed.warm} opens", f"{parsed.warm + opens} opens"
        report.line(f"{'MiB after':12} {first:>12} {last:>12} {'growth':>8} {'refused':>8}")
        for name in PACKAGES:
            memory = in_child(name, folder, parsed.warm, opens)
            if memory is None:
                report.line(f"{name:12} is not installed, or does not work here")
                continue
            before, after, refused = (memory[key] for key in ("before_mib", "after_mib", "refused"))
            report.line(f"{name:12} {before:12.1f} {after:12.1f} {after - before:+8.2f} {refused:8.0f}")
            if name == DEFAULT:
                grown = after - before
    report.bar(f"MiB that {opens} opens with {DEFAULT} add", grown, most=GROWTH_MIB)
    return report.finish()


def in_child(reader: str, folder: str, warm: int, opens: int) -> dict[str, float] | None:
    """What ``measure`` gives in a fresh process; ``None`` where the reader's package is absent.

    Raises:
        SystemExit: if the process fails otherwise.
    """
    command = [sys.executable, "-m", "benchmarks.opens", "--warm", str(warm), "--opens", str(opens)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([*command, "--child", reader, folder], cwd=root, capture_output=True, text=True)
    if done.returncode:
        if "ImportError: reader " in done.stderr:
            return None
        raise SystemExit(f"{reader}: {done.stderr.strip()[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(reader_name: str, folder: Path, warm: int, opens: int) -> dict[str, float]:
    """Resident memory after ``warm`` and after ``warm + opens`` opens, in MiB, and how many were refused."""
    reader = registry.readers.get(reader_name)()
    broken = folder / "broken.mp4"
    broken.write_bytes(bytes(range(256)) * 40)
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".mp4", ".mkv", ".mov", ".webm", ".avi")]
    sound = [path for path in files if path != broken]
    paths = cycle(path for start in range(0, len(sound), 9) for path in (*sound[start : start + 9], broken))
    refused = 0
    resident = []
    for count in (warm, opens):
        for path in islice(paths, count):
            try:
                info = reader.probe(path)
                reader.read(path, [0, info.num_frames - 1], size=SIZE, info=info)
            except VideoDecodeError:
                refused += 1
        gc.collect()
        resident.append(resident_mib())
    return {"before_mib": resident[0], "after_mib": resident[1], "refused": refused}


def resident_mib() -> float:
    """Of this process, as Linux says it, without what is free already.

    Raises:
        SystemExit: on systems without ``/proc``.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)
    try:
        rows = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SystemExit("benchmarks.opens reads /proc/self/status: run it on Linux") from error
    return next(int(row.split()[1]) for row in rows if row.startswith("VmRSS:")) / 1024


if __name__ == "__main__":
    sys.exit(main())
