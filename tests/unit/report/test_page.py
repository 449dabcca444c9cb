"""The page as text: whole, self-contained, escaped, and saying what it was given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lavis.report.markup import VOID, duration, element, seconds, span
from lavis.report.page import write_report
from lavis.report.results_table import TableRow, results_table
from lavis.report.timelines import CaseTimeline, Track, best_iou
from lavis.structures import Moment, Subtitle

ROWS = [
    TableRow("Whole video", {"R1@0.5": 10.0, "mIoU": 20.0}, role="baseline", num_queries=4),
    TableRow("Stage 1", {"R1@0.5": 40.0, "R1@0.7": 30.0, "mIoU": 35.0}, num_queries=4),
    TableRow("Stage 2", {"R1@0.5": 62.5, "R1@0.7": 41.25, "mIoU": 50.0}, spread={"R1@0.5": 1.5}, num_queries=4),
    TableRow("Stage 1, no captions", {"R1@0.5": 25.0}, role="comparison", note="subtitles left out"),
    TableRow("Stage 2", {"R1@0.5": 70.0}, group="seen"),
]
CASE = CaseTimeline(
    id="Sample_1",
    query='a <red> circle & "more"',
    video="kitchen",
    duration=8.0,
    truth=[Moment(1, 4), Moment(6, 7)],
    tracks=[Track("Stage 1", [], 0.0, "nonsense", malformed=True), Track("Stage 2", [Moment(1, 3)], 2 / 3)],
    captions=[Subtitle(1, 2, "</script><b>")],
    kind="seen",
)


class Balanced(HTMLParser):
    """Fails at the first element that is closed in the wrong place."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID and tag != "path":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.open.pop() == tag, f"</{tag}> closes something else"


def parsed(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert not parser.open
    return parser


@pytest.fixture
def page(tmp_path: Path) -> str:
    facts = {"Device": "CPU", "Stage seconds": {"stage 1": 200.0}, "Seeds": [1, 2]}
    path = write_report(tmp_path / "report.html", "A <title>", ROWS, [], [CASE], facts, config={"config": "a: <1>"})
    return path.read_text(encoding="utf-8")


def test_elements_are_balanced_and_ids_unique(page: str) -> None:
    ids = parsed(page).ids
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert all(address.startswith("#") for address in parsed(page).addresses)
    assert not re.search(r"https?://|@import|url\((?!data:)", page)


def test_text_is_escaped(page: str) -> None:
    assert "a &lt;red&gt; circle &amp; &quot;more&quot;" in page
    assert "A &lt;title&gt;" in page
    assert "</script><b>" not in page
    assert "a: &lt;1&gt;" in page


def test_headline_and_tiles_come_from_the_first_group(page: str) -> None:
    headline = re.search(r'class="headline">([^<]*)<', page)[1]
    assert headline == (
        "Stage 2 finds the moment for 62.5 % of 4 queries, stage 1 for 40.0 %; "
        "answers that ignore both video and query find it for 10.0 % at best."
    )
    assert "52.5 above the best baseline" in page


def test_facts_are_shown(page: str) -> None:
    assert "<dt>Stage time</dt>" in page
    assert "3 min 20 s" in page
    assert "1, 2" in page


def test_table_marks_the_best_of_each_group() -> None:
    table = results_table(ROWS)
    assert re.findall(r"<strong>([\d.]+)</strong>", table) == ["62.50", "41.25", "50.00", "70.00"]
    assert "± 1.50" in table
    assert "subtitles left out" in table
    assert 'class="stage stage-2"' in table


@pytest.mark.parametrize(
    ("rows", "reason"), [([], "at least one"), ([TableRow("Stage 1", {"R1@5": 1.0})], "R1@5.*known: R1@0.5")]
)
def test_bad_rows_are_named(rows: list[TableRow], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        results_table(rows)


def test_timeline_places_moments_in_the_video(page: str) -> None:
    assert "left:12.5%;width:37.5%" in page  # 1 to 4 of 8 seconds
    assert "left:12.5%;width:25%" in page
    assert "no answer · unreadable" in page
    assert "+0.67" in page


@pytest.mark.parametrize(
    ("moments", "truth", "iou"),
    [
        ([Moment(0, 4)], [Moment(2, 4), Moment(0, 3)], 0.75),
        ([Moment(5, 6), Moment(0, 4)], [Moment(0, 4)], 0.0),
        ([], [Moment(0, 4)], 0.0),
        ([Moment(0, 4)], None, None),
    ],
)
def test_the_first_answer_counts(moments: list[Moment], truth: list[Moment] | None, iou: float | None) -> None:
    assert best_iou(moments, truth) == iou


def test_markup() -> None:
    assert element("p", "a", class_="b", data_x=1, hidden=True, title=None, open=False) == (
        '<p class="b" data-x="1" hidden>a</p>'
    )
    assert element("input", name="q") == '<input name="q">'
    assert (seconds(8.0), seconds(12.54), span(8, 12.5)) == ("8 s", "12.5 s", "8–12.5 s")
    assert [duration(s) for s in (3.21, 45, 200, 7500)] == ["3.2 s", "45 s", "3 min 20 s", "2 h 5 min"]
