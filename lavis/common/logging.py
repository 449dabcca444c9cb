"""Loggers and progress of a run: the main rank writes to standard error and ``run.log``, the others only warn.

On a terminal a progress bar stays below the messages; elsewhere (a file, a job log) it becomes a plain line now and
then. Importing this configures nothing.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, Generic, TypeVar

from lavis.common import distributed

T = TypeVar("T")
ROOT = "lavis"
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def get_logger(name: str = ROOT) -> logging.Logger:
    """The logger of a module; pass ``__name__``."""
    return logging.getLogger(name)


class _BarHandler(logging.StreamHandler[Any]):
    """Writes above a progress bar instead of through it."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        # Looked up at each message, since a test or notebook may have replaced the stream.
        tqdm.write(self.format(record), file=sys.stderr)


def setup_logging(folder: Path | None = None, level: int = logging.INFO) -> None:
    """Sends the package's messages to standard error and, on the main rank, to ``folder/run.log`` (appended).

    Calling it again replaces the earlier destinations.
    """
    logger = logging.getLogger(ROOT)
    close_logging()
    main = distributed.is_main()
    console = _BarHandler()
    prefix = "" if main else f"[rank {distributed.rank()}] "
    console.setFormatter(logging.Formatter(prefix + _FORMAT, datefmt="%H:%M:%S"))
    console.setLevel(level if main else logging.WARNING)
    logger.addHandler(console)
    if folder is not None and main:
        folder.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(folder / "run.log", encoding="utf-8")
        file.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(file)
    logger.setLevel(level)
    logger.propagate = False


def close_logging() -> None:
    """Undoes ``setup_logging``."""
    logger = logging.getLogger(ROOT)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True


class Progress(Generic[T]):
    """Iterates, showing how far and how long still, on the main rank only.

    Args:
        items: what to iterate over.
        total: number of items; taken from ``items`` if it has a length.
        label: what is being done.
        done: items done before this run, counted in but not in the speed.
        every: seconds between plain lines where standard error is no terminal; 0 for none.
        weight: how much of ``total`` an item is worth, where that is not 1.
        unit: what is counted, to show how many of it are done a second.
    """

    def __init__(
        self, items: Iterable[T], label: str, *, total: int | None = None, done: int = 0, every: float = 60.0,
        weight: Callable[[T], int] | None = None, unit: str | None = None,
    ) -> None:  # fmt: skip
        self.items = items
        self.label = label
        self.total = len(items) if total is None and isinstance(items, Sized) else total
        self.done = done
        self.every = every
        self.weight = weight
        self.unit = unit
        self._facts = ""
        self._bar: Any = None

    def __iter__(self) -> Iterator[T]:
        if not distributed.is_main():
            yield from self.items
        elif sys.stderr.isatty():
            yield from self._with_bar()
        else:
            yield from self._with_lines()

    def facts(self, **values: float) -> None:
        """Numbers to show beside the progress, such as the loss."""
        self._facts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._facts, refresh=False)

    def _with_bar(self) -> Iterator[T]:
        from tqdm import tqdm

        unit = f" {self.unit}" if self.unit else "it"
        with tqdm(
            total=self.total, initial=self.done, desc=self.label, unit=unit, file=sys.stderr, leave=False
        ) as bar:
            self._bar = bar
            for item in self.items:
                yield item
                bar.update(self._worth(item))
            self._bar = None

    def _with_lines(self) -> Iterator[T]:
        start = last = time.monotonic()
        count = 0
        for item in self.items:
            yield item
            count += self._worth(item)
            now = time.monotonic()
            if self.every and now - last >= self.every:
                last = now
                get_logger(__name__).info("%s", self._line(count, now - start))

    def _worth(self, item: T) -> int:
        return 1 if self.weight is None else self.weight(item)

    def _line(self, count: int, seconds: float) -> str:
        parts = [f"{self.label} {self.done + count}"]
        if self.total is not None:
            left = (self.total - self.done - count) * seconds / count
            parts = [f"{parts[0]}/{self.total}", f"{format_seconds(left)} left"]
        if self.unit is not None:
            parts.append(f"{count / max(seconds, 1e-9):.3g} {self.unit}/s")
        return ", ".join([*parts, *([self._facts] if self._facts else [])])


def format_seconds(seconds: float) -> str:
    """``1:02:03`` for hours, ``2:03`` below."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
