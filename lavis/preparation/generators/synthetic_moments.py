"""A generated corpus for video moment retrieval: real video files, subtitles and annotations.

Every video is a *script*: coloured shapes that appear for a few seconds and move (``seen`` queries ask for
them), and spoken lines that exist only in the subtitles (``said`` queries ask for those). Scripts are drawn from
a generator seeded by the corpus seed, the split and the index of the video, so a video is the same whatever the
size of the corpus, the order of the work or the number of workers, and no script is shared by two splits.

Files under the root::

    generator.json                        settings; a second run with other settings is refused
    videos/<video>.mp4                    H.264, several sizes, constant and variable rates, some with AAC
    srts/<video>.srt                      subtitles
    annotations/<split>.json              CALCE rows, with an extra key ``kind`` (``seen`` or ``said``)
    annotations/highlight_<split>_release.jsonl    QVHighlights release rows with saliency
    annotations/dense_captions_<split>.json        ActivityNet-Captions layout
    annotations/questions_<split>.json             multiple choice with evidence windows
    annotations/event_order_<split>.json           captions to put in order
    pictures/<video>_<event><a|b>.jpg              two of each event, and one of an empty scene, of training videos
    annotations/picture_captions_train.json        LLaVA's form: what each picture shows
    annotations/instructions_train.json            LLaVA's form: questions on pictures and videos, with answers
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from lavis.common.registry import registry
from lavis.preparation.moving_shapes.annotations import (
    calce_rows,
    dense_captions,
    event_order,
    questions,
    qvhighlights_rows,
    to_srt,
)
from lavis.preparation.moving_shapes.conversations import instructions, picture_captions, write_pictures
from lavis.preparation.moving_shapes.scene import write_video
from lavis.preparation.moving_shapes.script import (
    COLOURS,
    FILLERS,
    FORMAT_VERSION,
    MOTIONS,
    PREDICATES,
    RATES,
    SAID_TEMPLATES,
    SEEN_TEMPLATES,
    SHAPES,
    SIZES,
    SPLITS,
    SUBJECTS,
    Event,
    Query,
    Script,
    Shot,
    SpokenLine,
    seed_of,
)  # fmt: skip


@registry.generators.register("synthetic_moments")
class SyntheticMoments:
    """The generator of the corpus.

    Args:
        seed: of the whole corpus; any integer.
        min_duration, max_duration: of a video, in whole seconds.
        compact: low rates only and at most the smallest size, for tests.
    """

    def __init__(
        self, seed: int = 0, min_duration: int = 20, max_duration: int = 60, compact: bool = False
    ) -> None:
        if not 16 <= min_duration <= max_duration:
            raise ValueError(
                f"durations must hold 16 <= min_duration <= max_duration, got {min_duration} and {max_duration}"
            )
        self.seed = seed
        self.min_duration = min_duration
        self.max_duration = max_duration
        self.compact = compact

    # ---------------------------------------------------------------- scripts

    def script(self, split: str, index: int) -> Script:
        """The script of video ``index`` of a split (any name: other names never repeat a corpus' videos)."""
        rng = random.Random(seed_of("synthetic_moments", FORMAT_VERSION, self.seed, split, index))
        duration = rng.randint(self.min_duration, self.max_duration)
        events = self._events(rng, duration)
        said, lines = self._lines(rng, duration)
        rate = None if rng.random() < 0.1 else rng.choice(RATES)
        size = rng.choice(SIZES)
        if self.compact:
            rate, size = (None if rate is None else "5"), SIZES[0]
        return Script(
            video=f"sample_{split}_{index:04d}",
            split=split,
            index=index,
            duration=duration,
            size=size,
            rate=rate,
            audio=rng.random() < 0.15,
            shots=self._shots(rng, duration),
            events=events,
            lines=lines,
            queries=(*self._seen_queries(rng, events), said),
        )

    @staticmethod
    def _shots(rng: random.Random, duration: int) -> tuple[Shot, ...]:
        cuts = [0.0, *sorted(rng.uniform(3, duration - 3) for _ in range(rng.randint(0, 2)))]
        shots = []
        for start in cuts:
            grey = rng.randint(95, 165)
            first, second = (
                tuple(max(60, min(200, grey + shade + rng.randint(-14, 14))) for _ in range(3))
                for shade in (0, rng.choice((-26, 26)))
            )
            pattern = rng.choice(("plain", "gradient", "stripes", "checks", "horizon"))
            shots.append(Shot(start, pattern, first, second, rng.randrange(2**31)))  # type: ignore[arg-type]
        return tuple(shots)

    @staticmethod
    def _events(rng: random.Random, duration: int) -> tuple[Event, ...]:
        """Disjoint events; the first look is a target, others often share its colour or its shape."""
        spans, now = [], rng.randint(0, 4)
        while now + 4 <= duration:
            end = min(now + rng.randint(4, 12), duration)
            spans.append((now, end))
            now = end + rng.choice((0, 0, 1, 2, 3, 5))
        target = (rng.choice(list(COLOURS)), rng.choice(SHAPES))
        repeats = rng.choice((1, 1, 2, 3)) if len(spans) >= 5 else rng.choice((1, 1, 2)) if len(spans) >= 4 else 1
        places = _apart(rng, len(spans), repeats)
        looks: list[tuple[str, str]] = []
        used = {target}
        for i in range(len(spans)):
            if i in places:
                looks.append(target)
                continue
            while True:
                colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
                if rng.random() < 0.7:
                    colour, shape = (target[0], shape) if rng.random() < 0.5 else (colour, target[1])
                if (colour, shape) not in used:
                    break
            used.add((colour, shape))
            looks.append((colour, shape))
        motions = {look: rng.choice(MOTIONS) for look in dict.fromkeys(looks)}
        return tuple(
            Event(
                start, end, *look, motions[look],
                x=round(rng.uniform(0.3, 0.7), 3), y=round(rng.uniform(0.3, 0.7), 3),
                radius=round(rng.uniform(0.17, 0.25), 3),
            )
            for (start, end), look in zip(spans, looks, strict=True)
        )  # fmt: skip

    @staticmethod
    def _seen_queries(rng: random.Random, events: Sequence[Event]) -> list[Query]:
        """Two looks, the most frequent first, each with all windows in which it is on screen."""
        windows: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        for event in events:
            windows.setdefault((event.colour, event.shape, event.motion), []).append((event.start, event.end))
        looks = list(windows)
        rng.shuffle(looks)
        looks.sort(key=lambda look: -len(windows[look]))
        queries = []
        for colour, shape, motion in looks[:2]:
            text = rng.choice(SEEN_TEMPLATES).format(colour=colour, shape=shape, motion=motion)
            spans = tuple(windows[colour, shape, motion])
            queries.append(Query(text, (f"{colour} {shape}",), spans, "seen"))
        return queries

    @staticmethod
    def _lines(rng: random.Random, duration: int) -> tuple[Query, tuple[SpokenLine, ...]]:
        """Subtitles and the query on one of their lines; the line's windows are its times in whole seconds."""
        spans, now = [], rng.randint(0, 3)
        while now + 3 <= duration:
            end = min(now + rng.randint(3, 6), duration)
            spans.append((now, end))
            now = end + rng.choice((0, 1, 2, 4))
        subject, predicate = rng.choice(SUBJECTS), rng.choice(PREDICATES)
        places = _apart(rng, len(spans), 2 if len(spans) >= 5 and rng.random() < 0.2 else 1)
        texts: list[str] = []
        for i in range(len(spans)):
            if i in places:
                texts.append(f"The {subject} {predicate}.")
            elif rng.random() < 0.12:
                texts.append(rng.choice(FILLERS))
            else:
                other, also = subject, predicate
                # A third of the chatter shares the subject or the predicate of the line asked for.
                share = rng.random()
                while (other, also) == (subject, predicate):
                    other = subject if share < 0.17 else rng.choice(SUBJECTS)
                    also = predicate if 0.17 <= share < 0.34 else rng.choice(PREDICATES)
                texts.append(f"{rng.choice(('The', 'The', 'Well, the', 'Now the'))} {other} {also}.")
        lines = []
        for (start, end), text in zip(spans, texts, strict=True):
            # Speech never starts on the second; rounding still gives the window.
            shift = 0.0 if start == 0 else rng.uniform(-0.05, 0.4)
            stop = end - rng.uniform(0.06, 0.4)
            lines.append(SpokenLine(round(start + shift, 3), round(stop, 3), text))
        query = Query(
            rng.choice(SAID_TEMPLATES).format(line=f"the {subject} {predicate}"),
            (subject,),
            tuple(spans[i] for i in places),
            "said",
        )
        return query, tuple(lines)

    # ------------------------------------------------------------------ files

    def generate(
        self,
        root: str | os.PathLike[str],
        counts: dict[str, int],
        workers: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, int]:
        """Write the corpus; videos that are already there are kept.

        Args:
            root: folder to fill.
            counts: number of videos by split, e.g. ``{"train": 300, "val": 60, "test": 60}``.
            workers: processes to render with.
            progress: called with (videos done, videos in all).

        Returns:
            ``{"made": ..., "kept": ..., "queries": ...}``.

        Raises:
            ValueError: the folder holds a corpus of other settings, or a split is unknown.
        """
        folder = Path(root)
        unknown = sorted(set(counts) - set(SPLITS))
        if unknown:
            raise ValueError(f"unknown split {unknown[0]!r}; known: {', '.join(SPLITS)}")
        self._claim(folder)
        scripts = [self.script(split, i) for split in SPLITS for i in range(counts.get(split, 0))]
        _check_distinct(scripts)
        todo = [s for s in scripts if not (folder / "videos" / f"{s.video}.mp4").exists()]
        done = len(scripts) - len(todo)
        if progress is not None:
            progress(done, len(scripts))
        for _ in _map_unordered(self._write_one, [(str(folder), s.split, s.index) for s in todo], workers):
            done += 1
            if progress is not None:
                progress(done, len(scripts))
        for split in counts:
            self._write_annotations(folder, [s for s in scripts if s.split == split], split)
        self._write_conversations(folder, [s for s in scripts if s.split == "train"])
        return {
            "made": len(todo),
            "kept": len(scripts) - len(todo),
            "queries": sum(len(s.queries) for s in scripts),
        }

    def settings(self) -> dict[str, object]:
        """What the videos depend on."""
        return {
            "generator": "synthetic_moments",
            "version": FORMAT_VERSION,
            "seed": self.seed,
            "min_duration": self.min_duration,
            "max_duration": self.max_duration,
            "compact": self.compact,
        }

    def _claim(self, folder: Path) -> None:
        marker = folder / "generator.json"
        for name in ("videos", "srts", "annotations"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if marker.exists():
            found = json.loads(marker.read_text())
            if found != self.settings():
                raise ValueError(
                    f"{folder} holds a corpus made with {found}, not {self.settings()}; "
                    "choose another folder or remove it"
                )
        else:
            _write_text(marker, json.dumps(self.settings(), indent=1) + "\n")

    def _write_one(self, task: tuple[str, str, int]) -> str:
        """Write the subtitles, then the video, whose presence says that both are finished."""
        root, split, index = task
        script = self.script(split, index)
        _write_text(Path(root) / "srts" / f"{script.video}.srt", to_srt(script.lines))
        write_video(script, Path(root) / "videos" / f"{script.video}.mp4")
        return script.video

    def _write_annotations(self, folder: Path, scripts: Sequence[Script], split: str) -> None:
        out = folder / "annotations"
        _write_text(out / f"{split}.json", json.dumps([r for s in scripts for r in calce_rows(s)]))
        rows = [r for s in scripts for r in qvhighlights_rows(s)]
        _write_text(out / f"highlight_{split}_release.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
        captions = {s.video: dense_captions(s) for s in scripts}
        _write_text(out / f"dense_captions_{split}.json", json.dumps(captions))
        _write_text(out / f"questions_{split}.json", json.dumps([r for s in scripts for r in questions(s)]))
        orders = [r for s in scripts for r in event_order(s)]
        _write_text(out / f"event_order_{split}.json", json.dumps(orders))

    def _write_conversations(self, folder: Path, scripts: Sequence[Script]) -> None:
        (folder / "pictures").mkdir(exist_ok=True)
        for script in scripts:
            write_pictures(script, folder / "pictures")
        for name, rows_of in (("picture_captions", picture_captions), ("instructions", instructions)):
            rows = [row for script in scripts for row in rows_of(script)]
            _write_text(folder / "annotations" / f"{name}_train.json", json.dumps(rows))


def _apart(rng: random.Random, length: int, count: int) -> list[int]:
    """``count`` sorted positions below ``length``, no two of them neighbours."""
    while True:
        places = sorted(rng.sample(range(length), count))
        if all(b - a > 1 for a, b in itertools.pairwise(places)):
            return places


def _check_distinct(scripts: Sequence[Script]) -> None:
    seen: dict[str, str] = {}
    for script in scripts:
        other = seen.setdefault(script.content(), script.video)
        if other != script.video:
            raise RuntimeError(f"videos {other} and {script.video} tell the same story; choose another seed")


def _map_unordered(
    function: Callable[[tuple[str, str, int]], str], tasks: Sequence[tuple[str, str, int]], workers: int
) -> Iterator[str]:
    if workers <= 1 or len(tasks) <= 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
