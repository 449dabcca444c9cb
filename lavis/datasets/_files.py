"""Which files of a split exist: one listing of a folder in place of thousands of look-ups."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def missing_names(folder: Path, names: Iterable[str]) -> set[str]:
    """Names (files or folders, possibly ``sub/name``) that do not exist in ``folder``.

    Raises:
        FileNotFoundError: if ``folder`` does not exist.
    """
    present = {entry.name for entry in os.scandir(folder)}
    return {name for name in names if name not in present and ("/" not in name or not (folder / name).exists())}


def missing_message(key: str, what: str, folder: Path, missing: set[str], total: int, cure: str) -> str:
    """What to say about files that are not there: how many, some names, the cure."""
    some = ", ".join(sorted(missing)[:3])
    return f"{key}: {len(missing)} of {total} {what} are missing in {folder}, such as {some}. {cure}"
