"""What a judge is told: a text file with a ``[system]``, ``[user]`` and ``[assistant]`` line before each part."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lavis.common.assets import resolve_asset
from lavis.common.io import read_text
from lavis.scoring.base import ScoringError

_ROLE = re.compile(r"^\[(system|user|assistant)\][ \t]*$", re.MULTILINE)
_BLANK = re.compile(r"\{(question|gold|predicted)\}")
_NAMES = ("question", "gold", "predicted")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages of a conversation; the last one asks, with blanks for question, reference and answer.

    Args:
        path: file that it was read from.
        messages: roles and texts.
    """

    path: str
    messages: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, path: str) -> Prompt:
        """From a file; ``asset:judges/magqa.txt`` is one of the package's own.

        Raises:
            ScoringError: if it has no roles, or does not end with a question that has all blanks.
        """
        place = str(resolve_asset(path))
        return cls.of(read_text(place), place)

    @classmethod
    def of(cls, text: str, path: str) -> Prompt:
        """From the content of such a file; what stands before the first role is a note."""
        parts = _ROLE.split(text)
        roles, texts = parts[1::2], [part.strip("\n") for part in parts[2::2]]
        if not roles or roles[-1] != "user":
            raise ScoringError(
                f"{path}: a judge's prompt has parts under [system], [user], [assistant], the last [user]"
            )
        lacking = [name for name in _NAMES if f"{{{name}}}" not in texts[-1]]
        if lacking:
            raise ScoringError(f"{path}: the last [user] part lacks {', '.join('{' + name + '}' for name in lacking)}")
        return cls(path, tuple(zip(roles, texts, strict=True)))

    @property
    def digest(self) -> str:
        """Tells prompts of different content apart."""
        content = "\0".join(f"{role}\0{text}" for role, text in self.messages)
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()[:16]

    def filled(self, texts: Sequence[str]) -> list[dict[str, str]]:
        """The conversation for ``(question, gold, predicted)``, as chat models and addresses take it."""
        content = dict(zip(_NAMES, texts, strict=True))
        *before, (role, last) = self.messages
        # In one pass: an answer that itself holds "{gold}" stays as it is.
        asked = _BLANK.sub(lambda blank: content[blank.group(1)], last)
        return [{"role": r, "content": t} for r, t in (*before, (role, asked))]
