"""Plots say what their queries say, whatever is broken in them, and need no screen."""

from __future__ import annotations

import io
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.report.grounding import comparison, distributions, strips, style, timelines
from lavis.report.grounding.cases import Case, Curve
from lavis.report.grounding.checks import GroundingCheck, check_grounding
from lavis.structures import Subtitle

pytest.importorskip("matplotlib", reason="the extra notebook is not installed")

ROWS = [
    {"qid": 1, "vid": "a", "query": "costs $5 & more", "duration": 20, "relevant_windows": [[2, 6], [10, 14]]},
    {"qid": 2, "vid": "a", "query": "a dog barks", "duration": 20, "relevant_windows": [[0, 10]]},
    {"qid": 3, "vid": "b", "query": "a car stops", "duration": 90, "relevant_windows": [[20, 30]]},
    {"qid": 4, "vid": "b", "query": "", "duration": 90, "relevant_windows": [[80, 90]]},
]
BROKEN = {1: [[6, 2]], 2: [], 3: [[20, 95]]}
GOOD = {1: [[2, 6]], 2: [[0, 8]], 3: [[40, 50]], 4: [[80, 90], [1, 2]]}


def check(windows: dict[int, Any]) -> GroundingCheck:
    rows = [{"qid": number, "pred_windows": found} for number, found in windows.items()]
    return check_grounding("calce", rows, ROWS, missing="zero", intervals=True)


@pytest.fixture
def broken() -> GroundingCheck:
    return check(BROKEN)


@pytest.fixture
def good() -> GroundingCheck:
    return check(GOOD)


def drawn(figure: Any) -> str:
    """All text of a figure, which is drawn to see that it can be."""
    from matplotlib.text import Text

    figure.savefig(io.BytesIO(), format="png")
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_figures_show_values_and_intervals(good: GroundingCheck) -> None:
    said = drawn(distributions.figures_plot(good.report))
    assert "mIoU" in said
    assert "75.00   (50.00 to 100.00)" in said
    good.report.scored.headline.clear()
    assert "no figure has a value" in drawn(distributions.figures_plot(good.report))


def test_states_are_counted_in_words(broken: GroundingCheck) -> None:
    said = drawn(distributions.states_plot(broken.states()))
    assert "reversed: ends before it starts" in said
    assert said.count("1  (25.0 %)") == 4


def test_overlaps_tell_misses_mean_and_baselines(broken: GroundingCheck) -> None:
    said = drawn(distributions.overlaps_plot(broken.ious(), {"whole video": [0.2, 0.4]}))
    assert "3 of 4 miss entirely" in said
    assert "whole video (mean IoU 0.30)" in said
    assert "miss entirely" not in drawn(distributions.overlaps_plot([0.5, 1.0]))


def test_recall_counts_overlaps_of_at_least_the_level() -> None:
    axes = distributions.overlaps_plot([0.0, 0.5, 1.0, 0.25]).axes[1]
    recall = axes.lines[0].get_ydata()
    assert [recall[0], recall[25], recall[26], recall[50], recall[100]] == [75, 75, 50, 50, 25]


def test_true_and_predicted_times(good: GroundingCheck, broken: GroundingCheck) -> None:
    figure = distributions.bounds_plot(good.cases)
    assert "median difference" in drawn(figure)
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[2, 2], [0, 0], [20, 40], [80, 80]]
    none = [replace(case, windows=()) for case in broken.cases]
    assert "no query has a window" in drawn(distributions.bounds_plot(none))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_conditions_and_coverage_of_few_queries(good: GroundingCheck, count: int) -> None:
    assert "true length, s" in drawn(distributions.conditions_plot(good.cases[:count]))
    figure = distributions.coverage_plot(good.cases[:count], parts=10)
    assert "predictions (first window)" in drawn(figure)


def test_coverage_is_a_share_of_queries(good: GroundingCheck) -> None:
    truth, predicted = distributions.coverage_plot(good.cases[:2], parts=10).axes[0].lines
    # Middles 5 %, 15 % ...: the first query's truth covers 10-30 % and 50-70 %, the second's 0-50 %.
    assert truth.get_ydata().tolist() == [50, 100, 100, 50, 50, 50, 50, 0, 0, 0]
    assert predicted.get_ydata().tolist() == [50, 100, 100, 50, 0, 0, 0, 0, 0, 0]


def test_rounds_need_rounds(good: GroundingCheck) -> None:
    with pytest.raises(ValueError, match="recursive_grounding"):
        distributions.rounds_plot(good.cases)
    case = replace(good.cases[1], rounds=[(0.0, 20.0), (0.0, 10.0)])
    figure = distributions.rounds_plot([case, good.cases[0]])
    assert figure.axes[0].lines[0].get_ydata().tolist() == [50, 100]


def test_worst_and_best_share_no_query(good: GroundingCheck) -> None:
    worst, best = distributions.worst_and_best(good.cases, 3)
    assert [case.id for case in worst] == ["3", "2"]
    assert [case.id for case in best] == ["4", "1"]
    assert distributions.worst_and_best(good.cases[:1], 3) == ([good.cases[0]], [])


def test_table_of_cases(broken: GroundingCheck) -> None:
    rows = distributions.cases_table(broken.cases)
    assert rows[1] == ["1", "0.00", "reversed", "2 to 6 s (+1)", "6 to 2 s", "costs $5 & more"]
    assert rows[2][2:5] == ["unreadable", "0 to 10 s", "-"]


def test_timelines_draw_whatever_was_predicted(broken: GroundingCheck, good: GroundingCheck) -> None:
    said = drawn(timelines.timelines_plot(broken.cases, good.cases, ("after", "before")))
    assert r"costs \$5 & more" in said
    for part in ("reversed", "no window", "no answer", "IoU 0.13, past the end", "IoU 1.00", "4 · b"):
        assert part in said, part
    with pytest.raises(ValueError, match="no query"):
        timelines.timelines_plot([])
    with pytest.raises(ValueError, match="4 queries, but 1 others"):
        timelines.timelines_plot(good.cases, broken.cases[:1])


def test_lanes_go_from_coarse_to_fine(good: GroundingCheck) -> None:
    case = replace(good.cases[0], prior=[(0.0, 9.0)], rounds=[(0.0, 10.0), (2.0, 6.0)])
    lanes = timelines.lanes_of(case, good.cases[0], ("stage 2", "stage 1"))
    assert [lane.name for lane in lanes] == ["truth", "prior", "stage 1", "round 1", "stage 2"]


def test_of_many_windows_the_first_three_are_drawn(good: GroundingCheck) -> None:
    many = replace(good.cases[0], windows=[(2.0 + rank, 6.0 + rank) for rank in range(10)])
    lane = timelines.lanes_of(many)[-1]
    assert (len(lane.windows), lane.note) == (3, "IoU 1.00, 7 more")


def test_query_with_everything(videos: list[Path], good: GroundingCheck) -> None:
    case = replace(
        good.cases[1],
        duration=8.0,
        windows=[(1.0, 3.0)],
        scores=Curve([1.0, 3.0], [0.1, 0.9]),
        saliency=Curve([1.0, 3.0], [0.0, 4.0]),
    )
    rows = strips.strips_of(videos[0], case, replace(case, windows=()), ("after", "before"), count=4, height=24)
    lines = [Subtitle(0.0, 4.0, "the kettle costs $5 today"), Subtitle(2.0, 6.0, "overlapping"), Subtitle(7, 7.1, "x")]
    figure = timelines.query_plot(case, rows, replace(case, scores=None), lines, ("after", "before"))
    said = drawn(figure)
    for part in ("1.2 s", "2.6 s", "no window", "saliency, 0 to 4", "overlapping", r"\$5"):
        assert part in said, part
    assert "truth" in drawn(timelines.query_plot(good.cases[3]))


def test_frames_have_the_times_of_the_file(videos: list[Path]) -> None:
    strip = strips.strip_of(videos[0], (1.0, 3.0), "x", count=4, height=24)
    assert strip.times == pytest.approx([1.2, 1.6, 2.2, 2.6])
    assert strip.images[0].shape == (24, 32, 3)
    # The video gets brighter, by 4 levels a frame at 5 frames a second.
    greys = [float(np.mean(image)) for image in strip.images]
    assert greys == pytest.approx([40 + 4 * 5 * seconds for seconds in strip.times], abs=3)


def test_frames_of_windows_that_are_none(videos: list[Path]) -> None:
    def strip(window: tuple[float, float] | None) -> strips.Strip:
        return strips.strip_of(videos[0], window, "x", count=4, height=24)

    assert strip((3.0, 1.0)).times == strip((1.0, 3.0)).times
    assert strip((7.9, 30.0)).times == pytest.approx([7.8])
    assert strip((2.0, 2.0)).times == pytest.approx([2.0])
    assert (strip(None).problem, strip(None).images) == ("no window", [])
    assert strip((20.0, 30.0)).problem == "outside the video, which has 8 s"
    with pytest.raises(ValueError, match="at least 1"):
        strips.strip_of(videos[0], (0.0, 1.0), "x", count=0)


def test_names_of_videos_stay_in_their_folder(good: GroundingCheck) -> None:
    case = good.cases[0]
    assert strips.file_of(case, "videos", ".mp4") == Path("videos/a.mp4")
    assert strips.file_of(replace(case, video="a.MP4"), "videos", ".mp4") == Path("videos/a.MP4")
    assert strips.file_of(case, "videos", "") == Path("videos/a")
    for name in ("../../etc/passwd", "/etc/passwd"):
        with pytest.raises(ValueError, match="query 1.*outside the folder"):
            strips.file_of(replace(case, video=name), "videos", ".mp4")


def test_changes_query_by_query(broken: GroundingCheck, good: GroundingCheck) -> None:
    changes = comparison.changes_between(broken, good)
    assert [round(change.gain, 2) for change in changes] == [1.0, 0.8, -0.13, 1.0]
    assert comparison.counts(changes) == {"better": 3, "same": 0, "worse": 1}
    better, worse = comparison.ranked(changes, 2)
    assert [change.after.id for change in better] == ["1", "4"]
    assert [change.after.id for change in worse] == ["3"]
    assert comparison.changes_table(changes)[1][:5] == ["1", "0.00", "1.00", "+1.00", "reversed → fine"]
    said = drawn(comparison.changes_plot(changes, ("stage 1", "stage 2")))
    assert "3 better, 0 same, 1 worse\nmean +0.667" in said
    assert "no query" in drawn(comparison.changes_plot([]))


def test_files_of_different_queries_cannot_be_compared(good: GroundingCheck) -> None:
    other = GroundingCheck(good.report, [replace(case, id=f"x{case.id}") for case in good.cases])
    with pytest.raises(ValueError, match="share no query"):
        comparison.changes_between(other, good)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (7.46, "7.5 s"), (59.97, "1:00"), (67.5, "1:07.5"), (-2, "−2 s"), (3723, "1:02:03"), (math.nan, "–")],
)
def test_clock(seconds: float, said: str) -> None:
    assert style.clock(seconds) == said


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"lavis\[notebook\]"):
        style.new_figure(1, 1)


def test_half_a_case_is_drawn() -> None:
    case = Case("1", "v", "", math.nan, [(2, 6)])
    assert "no window" in drawn(timelines.query_plot(case))
