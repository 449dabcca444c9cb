"""What the stages of a pipeline were done with and what came of it, in one JSON file; and why one has to be done again.

For every stage: its configuration, the version of the code, place, path and digest of all it read, digests of what it
wrote, its seconds. Paths below the pipeline's output folder are relative to it, so a folder of results may be moved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lavis.common.io import FileFormatError, read_json, write_json
from lavis.runners.pipeline_digests import Digests
from lavis.runners.run import differences

VERSION = 2
FACTS = ("action", "config", "splits", "settings")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a stage has to be done.

    Args:
        reasons: why; empty if it is up to date.
        notes: what is worth saying and no reason.
        anew: whether what an earlier attempt left was made from something else.
        edited: outputs that are not as the stage wrote them.
        spoilt: whether outputs are gone, or not as the stage wrote them.
    """

    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    anew: bool = False
    edited: list[Path] = field(default_factory=list)
    spoilt: bool = False


class Record:
    """The record of one pipeline, kept by one process.

    Args:
        path: of the JSON file.
        root: output folder of the pipeline.
        name: of the pipeline.

    Raises:
        ValueError: if the file is there and no record.
    """

    def __init__(self, path: Path, root: Path, name: str = "") -> None:
        self.path = path
        self.root = root
        self.digests = Digests(path.with_suffix("") / "digests.json")
        self._known = _read(path)
        self._known.update(version=VERSION, pipeline=name or self._known.get("pipeline", path.stem))
        self._stages: dict[str, dict[str, Any]] = self._known.setdefault("stages", {})

    def arrange(self, names: Sequence[str]) -> None:
        """Notes the stages the pipeline has now, in order; what others were done with is kept in case they return."""
        self._known["order"] = list(names)

    def judge(self, name: str, facts: Mapping[str, Any], code: str = "note") -> Verdict:
        """Whether a stage has to be done, given all that it depends on (``pipeline_inputs.facts_of``).

        Args:
            name: of the stage.
            facts: as they are now.
            code: ``stale`` if a change of the code is a reason, ``note`` if it is only said.
        """
        known = self._stages.get(name)
        if known is None:
            return Verdict(["not done yet"])
        if "inputs" not in known:
            return Verdict(["an earlier version of this program did it and did not note with what"])
        changed = self._changes(name, known, facts)
        coded = differences(known["code"], facts["code"])
        about_code = [f"the code changed since ({_code_words(coded)})"] if coded else []
        reasons = changed + (about_code if code == "stale" else [])
        anew = bool(reasons) or bool(known.get("clearing"))
        notes = about_code if code == "note" else []
        if known["outputs"] is None:
            failed = known.get("failed")
            aside = [self._path(key) for key in known.get("aside", [])]
            return Verdict([*reasons, f"it failed: {failed}" if failed else "it was interrupted"], notes, anew, aside)
        edited, spoilt = [], False
        for key, content in known["outputs"].items():
            digest = self.digests.file(self._path(key))
            if digest is None:
                reasons.append(f"its output {self._path(key)} is gone")
            elif digest != content:
                reasons.append(f"its output {self._path(key)} was changed by hand or by another program")
                edited.append(self._path(key))
            spoilt = spoilt or digest != content
        return Verdict(reasons, notes, anew, edited, spoilt)

    def begin(self, name: str, facts: Mapping[str, Any], anew: bool, aside: Sequence[Path] = ()) -> None:
        """Notes that a stage is under way.

        Args:
            name: of the stage.
            facts: all that it depends on.
            anew: whether what an earlier attempt left is to be cleared away first.
            aside: files that are to be put aside first.
        """
        aside_keys = [self._key(path) for path in aside]
        self._stages[name] = {**facts, "outputs": None, "clearing": anew, "aside": aside_keys}
        self._write()

    def cleared(self, name: str) -> None:
        """Notes that nothing of an earlier attempt is left, so that the stage may be resumed from now on."""
        clearing, aside = (self._stages[name].pop(key, None) for key in ("clearing", "aside"))
        if clearing or aside:
            self._write()

    def fail(self, name: str, message: str) -> None:
        """Notes why a stage ended without its outputs."""
        self._stages[name]["failed"] = message.split("\n")[0][:300]
        self._write()

    def complete(self, name: str, facts: Mapping[str, Any], outputs: Sequence[Path], seconds: float) -> None:
        """Notes that a stage is done."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        contents = {self._key(file): self.digests.file(file) for file in outputs}
        self._stages[name] = {
            **facts, "outputs": contents, "seconds": round(seconds, 1), "finished": now, "last": "ran"
        }  # fmt: skip
        self._write()

    def keep(self, name: str) -> None:
        """Notes that a stage was found up to date."""
        if self._stages[name].get("last") != "up to date":
            self._stages[name]["last"] = "up to date"
            self._write()

    def accept(self, name: str) -> list[Path]:
        """Takes the outputs of a completed stage as they are now; returns those that were others before.

        Raises:
            ValueError: if the stage was not completed, or an output is gone.
        """
        known = self._stages.get(name, {})
        if not known.get("outputs"):
            raise ValueError(f"the stage {name!r} was not completed, so there is nothing to accept; run the pipeline")
        changed = []
        for key, content in known["outputs"].items():
            digest = self.digests.file(self._path(key))
            if digest is None:
                raise ValueError(f"{self._path(key)}, which the stage {name!r} wrote, is gone and cannot be accepted")
            if digest != content:
                known["outputs"][key] = digest
                changed.append(self._path(key))
        self._write()
        return changed

    def seconds(self) -> dict[str, float]:
        """What completed stages took, by name; stages that were interrupted count from their last start."""
        return {name: known["seconds"] for name, known in self._stages.items() if known.get("seconds") is not None}

    def outputs(self, name: str) -> list[Path]:
        """Files a stage wrote when it was last completed."""
        return [self._path(key) for key in self._stages.get(name, {}).get("outputs") or {}]

    def writer_of(self, path: Path) -> str | None:
        """The stage that wrote a file when it was last completed."""
        key = self._key(path)
        return next((name for name, known in self._stages.items() if key in (known.get("outputs") or {})), None)

    def was_read(self, name: str, path: Path) -> bool:
        """Whether a file was there when a stage was last begun."""
        inputs = (self._stages.get(name, {}).get("inputs") or {}).values()
        return any(each["path"] == str(path) and each["digest"] is not None for each in inputs)

    def _changes(self, name: str, known: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
        reasons = [row for key in FACTS for row in differences(known[key], facts[key], "" if key == "config" else key)]
        before, after = known["inputs"], facts["inputs"]
        for key in dict.fromkeys([*before, *after]):
            old, new = before.get(key), after.get(key)
            if new is None:
                reasons.append(f"it reads {old['path']} no longer ({key})")
            elif old is None:
                reasons.append(f"it now also reads {new['path']} ({key})")
            elif old["digest"] != new["digest"]:
                reasons.append(self._input_change(key, old, new))
        return reasons

    def _input_change(self, key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        path = new["path"]
        writer = self.writer_of(Path(path))
        by = f", which stage {writer!r} writes," if writer is not None else ""
        if new["digest"] is None:
            return f"{path}{by} is gone ({key})"
        if old["digest"] is None:
            return f"{path}{by} is there now ({key})"
        names = self.digests.changed_names(old["digest"], new["digest"])
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return f"in {path} {', '.join(names[:3])}{more} ({key})"
        return f"{path}{by} has changed ({key})"

    def _key(self, path: Path) -> str:
        full, root = Path(os.path.abspath(path)), Path(os.path.abspath(self.root))
        return full.relative_to(root).as_posix() if full.is_relative_to(root) else str(full)

    def _path(self, key: str) -> Path:
        return self.root / key

    def _write(self) -> None:
        write_json(self.path, self._known)
        inputs = [each["digest"] for known in self._stages.values() for each in known.get("inputs", {}).values()]
        self.digests.save(digest for digest in inputs if digest is not None)


def shown(reasons: Sequence[str], limit: int = 4) -> str:
    """Reasons in one line."""
    more = f"; and {len(reasons) - limit} more" if len(reasons) > limit else ""
    return "; ".join(reasons[:limit]) + more


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    cure = (
        "It only says which stages are done: what they wrote is kept. Restore the file, or move it away; every stage "
        "is then looked at again, and trainings and predictions that are complete are found so and not repeated"
    )
    try:
        known = read_json(path)
    except FileFormatError as error:
        raise ValueError(f"the record of this pipeline cannot be read: {error}. {cure}") from error
    if not isinstance(known, dict) or not all(isinstance(each, dict) for each in (known.get("stages") or {}).values()):
        raise ValueError(f"{path} is no record of a pipeline. {cure}")
    if known.get("version", 1) > VERSION:
        raise ValueError(f"{path} was written by a later version of this program ({known['version']}). {cure}")
    known.pop("files", None)  # digests of version 1
    return known


def _code_words(changes: Sequence[str]) -> str:
    return ", ".join("lavis itself" if row.startswith("lavis:") else row.replace("'", "") for row in changes)
