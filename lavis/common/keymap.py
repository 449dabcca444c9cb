"""Tables that rename the weights of published checkpoints to ours.

A table (``lavis/convert/keymaps/*.yaml``) has rows ``from: to``. ``{}`` stands for any text, the same on both sides;
``to: null`` drops a name on purpose. The first row that fits wins; a name no row fits is an error with the ten nearest
patterns. ``signature`` lists patterns that must all occur, so that a file's family is
recognised without being told; ``into`` lists patterns that must occur in the model to be filled, for files under our
own names that other models take as they are. ``prefixes`` are taken off first, then ``endings`` are renamed (``.gamma``
of early BERT files).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from lavis.common.checkpoint import CheckpointError
from lavis.common.yaml_tree import parse_yaml

_FOLDER = Path(__file__).resolve().parent.parent / "convert" / "keymaps"


@dataclass(frozen=True)
class KeyMap:
    """Rules of one checkpoint family, in order: compiled pattern and target, ``None`` to drop."""

    name: str
    summary: str
    signature: tuple[re.Pattern[str], ...]
    absent: tuple[re.Pattern[str], ...]
    rules: tuple[tuple[re.Pattern[str], str | None], ...]
    patterns: tuple[str, ...]
    endings: tuple[tuple[str, str], ...] = ()
    prefixes: tuple[str, ...] = ()
    into: tuple[re.Pattern[str], ...] = ()

    def fits(self, names: Iterable[str], model: Iterable[str] = ()) -> bool:
        """Whether a file with these names belongs to the family, and a model with such names takes it by this table."""
        names, model = [self._bare(name) for name in names], list(model)
        return (
            all(any(p.fullmatch(n) for n in names) for p in self.signature)
            and not any(p.fullmatch(n) for p in self.absent for n in names)
            and all(any(p.fullmatch(n) for n in model) for p in self.into)
        )

    def rename(self, name: str) -> str | None:
        """Our name, or ``None`` for one that is dropped.

        Raises:
            KeyError: if no row fits.
        """
        name = self._bare(name)
        for old, new in self.endings:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        for pattern, target in self.rules:
            if match := pattern.fullmatch(name):
                if target is None:
                    return None
                pieces = target.split("{}")
                return pieces[0] + "".join(a + b for a, b in zip(match.groups(), pieces[1:], strict=True))
        raise KeyError(name)

    def apply(self, state: Mapping[str, Tensor], source: str = "checkpoint") -> tuple[dict[str, Tensor], list[str]]:
        """The state under our names, and the names that were dropped.

        Raises:
            CheckpointError: if names fit no row, or two names with different values become one.
        """
        renamed: dict[str, Tensor] = {}
        dropped, unknown = [], []
        for name, tensor in state.items():
            try:
                target = self.rename(name)
            except KeyError:
                unknown.append(name)
                continue
            if target is None:
                dropped.append(name)
            elif target in renamed and not _same(renamed[target], tensor):
                raise CheckpointError(f"{source}: two weights become {target}; the second is {name}")
            else:
                renamed[target] = tensor
        if unknown:
            near = difflib.get_close_matches(unknown[0], self.patterns, n=10, cutoff=0.3)
            raise CheckpointError(
                f"{source}: {len(unknown)} names are unknown to the key map {self.name!r}, first "
                f"{', '.join(unknown[:10])}; nearest rows: {', '.join(near) or 'none'}"
            )
        return renamed, dropped

    def _bare(self, name: str) -> str:
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        return name


def keymap_names() -> list[str]:
    """Names of all tables."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def load_keymap(name: str) -> KeyMap:
    """The table called ``name``.

    Raises:
        CheckpointError: if there is none, or it is malformed.
    """
    path = _FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise CheckpointError(f"no key map {name!r}; known: {', '.join(keymap_names())}")
    table = parse_yaml(path.read_text("utf-8"), str(path)).value
    rows = table.get("rows")
    if not isinstance(rows, Mapping):
        raise CheckpointError(f"{path} has no mapping 'rows'")
    return KeyMap(
        name=name,
        summary=str(table.get("summary", "")),
        signature=tuple(_compile(p) for p in table.get("signature", [])),
        absent=tuple(_compile(p) for p in table.get("absent", [])),
        rules=tuple((_compile(str(a)), None if b is None else str(b)) for a, b in rows.items()),
        patterns=tuple(str(a) for a in rows),
        endings=tuple((str(a), str(b)) for a, b in (table.get("endings") or {}).items()),
        prefixes=tuple(str(prefix) for prefix in table.get("prefixes") or ()),
        into=tuple(_compile(str(p)) for p in table.get("into") or ()),
    )


def recognise(names: Iterable[str], model: Iterable[str] = ()) -> KeyMap | None:
    """The table whose signature a file's names match, or ``None`` (then they are ours, or unknown).

    Args:
        names: of the file.
        model: names of the weights of the model that is to be filled, if there is one.
    """
    names, model = list(names), list(model)
    for candidate in keymap_names():
        keymap = load_keymap(candidate)
        if keymap.signature and keymap.fits(names, model):
            return keymap
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and bool((one == other).all())


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(re.escape(part) for part in pattern.split("{}")))
