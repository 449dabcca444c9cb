"""Where the checkpoints of a training lie, and which of them is whole.

``<run>/checkpoints/step_<iterations>`` holds one state (``state.py``), and a manifest with size and SHA-256 of every
file: a folder without a manifest, or with a file that differs from it, is torn and never loaded; the one before it is.
Ours, where LAVIS overwrites its only file in place. ``saver.py`` writes them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lavis.common.checkpoint import CheckpointError, file_digest
from lavis.common.io import read_json
from lavis.common.logging import get_logger
from lavis.runners.state import Progress

MANIFEST = "manifest.json"
logger = get_logger(__name__)


def step_of(folder: Path) -> int:
    """Iterations that had been done, by the folder's name; -1 if it is none of a checkpoint."""
    kind, _, number = folder.name.partition("_")
    return int(number) if kind == "step" and number.isdigit() else -1


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in a folder, whole or torn, oldest first."""
    found = folder.glob("step_*") if folder.is_dir() else ()
    return sorted((p for p in found if p.is_dir() and step_of(p) >= 0), key=step_of)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        CheckpointError: if there is none, or it is no manifest.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = read_json(path)
        Progress(**manifest["progress"])
        if manifest["processes"] < 1 or manifest["global_batch"] < 1 or not all(map(dict, manifest["files"].values())):
            raise ValueError("processes, global_batch or files are wrong")
        return manifest
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no {MANIFEST}: it is torn") from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error


def verified(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint of which every file is as it was written.

    Raises:
        CheckpointError: naming the first file that is not.
    """
    manifest = read_manifest(folder)
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or facts_of(path) != facts:
            size = path.stat().st_size if path.is_file() else 0
            raise CheckpointError(f"{path} is torn or was changed: {size} bytes, {facts.get('bytes')} were written")
    return manifest


def newest_whole(folder: Path, aside: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, with its manifest; ``None`` if nothing was ever saved.

    Args:
        folder: with checkpoints.
        aside: rename newer ones that are torn, so that none of them counts among those to keep. A warning says what is
            lost in any case.

    Raises:
        CheckpointError: if there are checkpoints and all are torn.
    """
    torn: list[tuple[Path, CheckpointError]] = []
    for candidate in reversed(checkpoints(folder)):
        try:
            manifest = verified(candidate)
        except CheckpointError as error:
            torn.append((candidate, error))
            continue
        for path, problem in torn:
            logger.warning(
                "%s. The training goes on from %s: the iterations %d to %d are done again",
                problem, candidate, step_of(candidate) + 1, step_of(path),
            )  # fmt: skip
            if aside:
                replace_folder(path, path.with_name(f"torn_{path.name}"))
        return candidate, manifest
    if torn:
        problems = "; ".join(str(problem) for _, problem in torn)
        raise CheckpointError(
            f"no checkpoint in {folder} is whole: {problems}. Copy one of them again, or start this training anew with "
            "run.resume=never; the weights of the best validation, if there was one, are in best.safetensors"
        )
    return None


def named(wanted: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that ``run.resume`` names: itself, or the newest whole one of a run or its ``checkpoints``.

    Raises:
        CheckpointError: if it is torn or there is none.
    """
    if step_of(wanted) >= 0 or (wanted / MANIFEST).is_file():
        return wanted, verified(wanted)
    for folder in (wanted, wanted / "checkpoints"):
        found = newest_whole(folder, aside=False)
        if found is not None:
            return found
    raise CheckpointError(
        f"run.resume={wanted} is no checkpoint folder with a manifest, such as results/<name>/checkpoints/step_000100, "
        "and no run that has one; to start from weights alone set model.weights"
    )


def replace_folder(path: Path, target: Path) -> None:
    """Renames a folder, in place of another."""
    shutil.rmtree(target, ignore_errors=True)
    path.replace(target)


def facts_of(path: Path) -> dict[str, Any]:
    """What the manifest says of a file: its bytes and their SHA-256."""
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}
