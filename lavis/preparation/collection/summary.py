"""What a job did, how fast, and what the same would cost for a large collection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.preparation.collection.outcome import Outcome

PROJECTED_HOURS = 10_000
"""Hours of video that costs are projected to: the size of the collections these systems were trained on."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a job.

    Args:
        name: of the job.
        outcomes: of all items of this part, in their order, those of earlier runs included.
        before: how many of them were done by earlier runs.
        video_s: seconds of video worked through now.
        core_s: processor seconds that took, of the processes that worked and the programs they started.
        wall_s: seconds from first to last item.
        workers: how many items were worked on at a time.
        quarantine: the list of failed items, written if there are any.
        journal: the journal of this part.
    """

    name: str
    outcomes: list[Outcome]
    before: int
    video_s: float
    core_s: float
    wall_s: float
    workers: int
    quarantine: Path
    journal: Path

    @property
    def failed(self) -> list[Outcome]:
        """Items in quarantine."""
        return [each for each in self.outcomes if each.failure]

    @property
    def done(self) -> list[Outcome]:
        """Items that are through."""
        return [each for each in self.outcomes if not each.failure]

    @property
    def new(self) -> int:
        """How many items were worked on now."""
        return len(self.outcomes) - self.before

    @property
    def hours_per_core_hour(self) -> float | None:
        """Hours of video a core works through in an hour; ``None`` where no video was worked through."""
        return self.video_s / self.core_s if self.video_s > 0 and self.core_s > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Counts and figures."""
        return {
            "job": self.name, "items": len(self.outcomes), "done": len(self.done), "failed": len(self.failed),
            "done_before": self.before, "video_hours": self.video_s / 3600, "core_s": self.core_s,
            "wall_s": self.wall_s, "workers": self.workers, "video_hours_per_core_hour": self.hours_per_core_hour,
        }  # fmt: skip

    def to_text(self) -> str:
        """The same for reading, with the first failures and the projection."""
        from lavis.common.logging import format_seconds  # imports torch, which `--help` can do without

        lines = [
            f"{self.name}: {len(self.done)} of {len(self.outcomes)} done ({self.before} before, {self.new} worked on "
            f"now in {format_seconds(self.wall_s)} by {self.workers} at a time), {len(self.failed)} in quarantine"
        ]
        lines += [f"  {each.item}: {each.error}" for each in self.failed[:_SHOWN]]
        if len(self.failed) > _SHOWN:
            lines.append(f"  ... and {len(self.failed) - _SHOWN} more")
        if self.failed:
            lines.append(
                f"  all of them: {self.quarantine}; once they are repaired, or with --retry, they are tried again"
            )
        if self.new:
            lines.append(self._speed())
        return "\n".join(lines)

    def _speed(self) -> str:
        text = f"  {self.new / max(self.wall_s, 1e-9):.3g} items/s, {self.core_s:.1f} core-seconds"
        rate = self.hours_per_core_hour
        if rate is None:
            return text
        core_hours = PROJECTED_HOURS / rate
        days = PROJECTED_HOURS / (self.video_s / max(self.wall_s, 1e-9)) / 24
        return (
            f"{text}; {self.video_s / 3600:.3g} h of video, {rate:,.3g} h of it per core-hour: {PROJECTED_HOURS:,} h "
            f"would take {core_hours:,.3g} core-hours, or {days:,.3g} days at the speed of this run, its start included"
        )
