"""Make a virtual environment and install the project into it, with the build of torch that suits the machine.

On Linux the default ``pip install torch`` brings several GB of CUDA libraries. On a machine without an NVIDIA GPU this
script asks pip first, without downloading anything, which build it would take, and stops rather than fetch those. The
CPU build is found where pip's own configuration looks, or at the index that ``TORCH_INDEX_URL`` names.

Needs Python 3.10 or newer and nothing else.

Examples:
    python3 requirements/install.py
    python3 requirements/install.py --extras dev
    TORCH_INDEX_URL=<index of CPU builds> python3 requirements/install.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "requirements" / "constraints-cpu.txt"
TORCH_BUILDS = ("auto", "cpu", "cuda", "keep")

NO_CPU_BUILD = """\
pip would install the CUDA build of torch (several GB), but no NVIDIA GPU was found here. Nothing was downloaded. Either
  - name the index of CPU builds, which PyTorch's "Get started" page shows for Linux, Pip, CPU:
        make {target} TORCH_INDEX_URL=<that index>
  - or take the CUDA build all the same:
        make {target} TORCH=cuda"""


def main() -> int:
    description, _, examples = (__doc__ or "").partition("\n\nExamples")
    parser = argparse.ArgumentParser(
        description=description, epilog="Examples" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder to make (default: .venv)")
    parser.add_argument("--extras", default="", help="extras of setup.py, separated by commas, such as dev,metrics")
    parser.add_argument(
        "--torch",
        choices=TORCH_BUILDS,
        default=os.environ.get("TORCH") or "auto",
        help="build of torch; auto looks for a GPU, keep leaves the choice to pip (default: $TORCH or auto)",
    )
    parser.add_argument("--target", default="quickstart", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch not in TORCH_BUILDS:
        return fail(f"TORCH must be one of {', '.join(TORCH_BUILDS)}, got {args.torch!r}")
    if sys.version_info < (3, 10):  # noqa: UP036 -- the one file that older Pythons are started with
        return fail(f"Python 3.10 or newer is needed, this is {platform.python_version()} ({sys.executable})")
    python = make_environment(args.venv)
    if python is None:
        return fail("this Python has no ensurepip; on Debian and Ubuntu: apt-get install python3-venv")
    wanted = args.torch
    if wanted == "auto":
        wanted = "cuda" if has_gpu() else "cpu"
    constraints: list[str] = []
    if wanted == "cpu":
        constraints = ["-c", str(CONSTRAINTS)]
        if not install_cpu_torch(python):
            return fail(NO_CPU_BUILD.format(target=args.target))
    say(f"installing the project ({'CUDA or default' if wanted != 'cpu' else 'CPU'} build of torch)")
    extras = f"[{args.extras}]" if args.extras else ""
    pip(python, "install", *constraints, "-e", f"{ROOT}{extras}")
    return 0


def make_environment(folder: Path) -> Path | None:
    """The environment's Python, made if it is not there; ``None`` where this Python cannot make one."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        say(f"making {folder}")
        try:
            venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(folder)
        except subprocess.CalledProcessError:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        pip(python, "install", "--upgrade", "pip>=23.1")
    return python


def has_gpu() -> bool:
    """Whether the NVIDIA driver answers and lists a device."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listing = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU" in listing.stdout


def install_cpu_torch(python: Path) -> bool:
    """Install the pinned torch without CUDA; ``False`` if only a CUDA build is on offer."""
    pin = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
    if installed_version(python).split("+")[0] == pin.partition("==")[2]:
        return True
    index = os.environ.get("TORCH_INDEX_URL")
    options = ["--index-url", index] if index else []
    say(f"looking for {pin} " + (f"at {index}" if index else "where pip looks (TORCH_INDEX_URL is not set)"))
    if brings_cuda(python, pin, options):
        return False
    pip(python, "install", *options, pin)
    return True


def brings_cuda(python: Path, requirement: str, options: list[str]) -> bool:
    """Whether pip would bring CUDA libraries along; asks it for its plan, downloads no package."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = ["install", "--dry-run", "--quiet", "--ignore-installed", "--report", str(report)]
        pip(python, *command, *options, requirement)
        plan = json.loads(report.read_text())["install"]
    names = [item["metadata"]["name"].lower() for item in plan]
    return any(name.startswith(("nvidia-", "cuda-", "triton")) for name in names)


def installed_version(python: Path) -> str:
    """Version of torch in the environment, empty if there is none."""
    code = "import importlib.metadata as m\ntry: print(m.version('torch'))\nexcept m.PackageNotFoundError: pass"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", *arguments], check=True, stdin=subprocess.DEVNULL)


def say(text: str) -> None:
    sys.stderr.write(f"install: {text}\n")


def fail(text: str) -> int:
    say(text)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(fail(f"this command failed with exit status {error.returncode}: {' '.join(map(str, error.cmd))}"))
