"""Files that ship inside the package: ``asset:toy/t5_tokenizer`` names ``lavis/assets/toy/t5_tokenizer``."""

from __future__ import annotations

from pathlib import Path

PREFIX = "asset:"
_ROOT = Path(__file__).resolve().parent.parent / "assets"


def resolve_asset(name: str) -> str:
    """The path behind an ``asset:`` name; any other name is returned unchanged (a path, or a hub name).

    Raises:
        ValueError: if the package ships no such file; the message lists what it ships.
    """
    if not name.startswith(PREFIX):
        return name
    path = (_ROOT / name.removeprefix(PREFIX)).resolve()
    if not path.is_relative_to(_ROOT) or not path.exists():
        known = sorted(str(p.relative_to(_ROOT)) for p in _ROOT.glob("*/*"))
        raise ValueError(f"{name!r} is not shipped with lavis; known: {', '.join(PREFIX + k for k in known) or 'none'}")
    return str(path)
