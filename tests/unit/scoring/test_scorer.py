"""The function that scores, its report as JSON and text, the list of protocols."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import ConfigError
from lavis.common.registry import UnknownEntryError, registry
from lavis.scoring import ScoreReport, ScoringError, score
from lavis.scoring.base import Estimate
from lavis.scoring.intervals import point_estimates
from lavis.scoring.listing import describe_protocol, describe_protocols
from lavis.scoring.score_report import aligned, shown
from tests.toy_protocol import Toy, toy_rows

GUESSES, FACTS = toy_rows(60)


def report(**named: Any) -> ScoreReport:
    return score(Toy(), GUESSES[:-1], FACTS, **{"missing": "zero", **named})


def test_figures_headline_and_conditions() -> None:
    found = report(intervals=True, compare=GUESSES)
    assert found.figures["brief"]["hits"] == round(found.headline["hits"], 2)
    details = found.to_json()
    assert json.loads(json.dumps(details)) == details
    assert details["protocol"] == "toy_protocol"
    assert details["options"] == {"within": 1.0}
    assert details["policies"] == {
        "missing": {"policy": "zero", "official": False}, "extra": {"policy": "error", "official": True},
    }  # fmt: skip
    assert details["counts"]["missing"] == 1
    assert details["examples"]["missing"] == ["no answer to '59'"]
    assert details["forms"] == {"predictions": "guesses, JSON list", "annotations": "facts, JSON list"}
    assert details["intervals"]["without"] == ["count"]
    assert set(details["intervals"]["figures"]) == {"hits", "closeness", "both"}
    assert details["comparison"]["common"] == 60


def test_the_headline_is_what_estimates_give() -> None:
    found = report()
    points = point_estimates(found.scored, found.pairs.ids, found.pairs.videos)
    assert points == pytest.approx({name: found.headline[name] for name in points})


def test_text() -> None:
    told = report(intervals=True).text()
    assert "toy_protocol (within=1.0)" in told
    assert " to " in next(line for line in told.splitlines() if line.startswith("hits"))
    assert "no interval (not a mean over queries): count" in told
    assert re.search(r"missing +1  queries without an answer row, such as no answer to '59'", told)
    assert "zero: a query without a usable answer counts as missed (the official script: error)" in told
    assert "(as the official script)" in told
    assert "guesses, JSON list" in told


def test_per_query_rows() -> None:
    rows = report().per_query()
    assert len(rows) == 60
    assert list(rows[0]) == ["id", "video", "hits", "closeness"]
    assert sum(row["hits"] for row in rows) / 60 == pytest.approx(report().headline["hits"])


def test_the_official_file_holds_the_official_figures_alone(tmp_path: Path) -> None:
    found = report()
    found.scored.figures["nothing"] = float("nan")
    official, details = found.write(tmp_path / "metrics.json")
    assert details == tmp_path / "metrics.details.json"
    assert official.read_text() == json.dumps(found.figures, indent=4)
    assert json.loads(details.read_text())["headline"]["hits"] == found.headline["hits"]


def test_policies_are_not_left_on_a_protocol_that_is_built() -> None:
    protocol = Toy()
    found = score(protocol, [*GUESSES, {"id": "x", "guess": 1}], FACTS, extra="drop")
    assert (found.extra, found.policies["extra"]["official"]) == ("drop", False)
    assert protocol.extra == "error"


def test_bad_arguments() -> None:
    with pytest.raises(ScoringError, match="missing must be one of zero, error, drop"):
        report(missing="nil")
    with pytest.raises(ScoringError, match="extra must be one of error, drop"):
        report(extra="zero")
    with pytest.raises(ScoringError, match="give it within when building it"):
        report(within=2)
    with pytest.raises(UnknownEntryError, match="Did you mean 'qvhighlights'"):
        score("qvhighlight", [])
    with pytest.raises(ConfigError, match=r"protocol qvhighlights has no option 'nonsense'; its options: "):
        score("qvhighlights", [], [], nonsense=1)
    with pytest.raises(ConfigError, match="protocol etbench: mode must be one of auto, text, similarity, got 'words'"):
        score("etbench", [], mode="words")
    with pytest.raises(ConfigError, match="protocol meco_charades: threshold must be a number, got 'high'"):
        score("meco_charades", [], threshold="high")


def test_numbers_and_columns() -> None:
    values = (53.942, 0.5394, 0.0, 1550.0, float("nan"))
    assert list(map(shown, values)) == ["53.94", "0.5394", "0.00", "1,550", "nan"]
    assert shown(-0.1152, like=3.3) == "-0.12"
    assert shown(1234) == "1,234"
    assert aligned([["a", "value"], ["long name", "1.00"], ["b", "10.00"]]).splitlines() == [
        "a          value", "long name   1.00", "b          10.00",
    ]  # fmt: skip


@pytest.mark.parametrize("name", registry.protocols.names())
def test_every_protocol_is_described(name: str) -> None:
    found = describe_protocol(name)
    assert found.summary
    assert found.source
    assert found.keys
    if not found.problem:
        assert found.answers
        assert found.truths
        assert all(form.name and (form.fields or form.summary) for form in (*found.answers, *found.truths))
    assert f"{name}: {found.summary}" in found.text()


def test_the_list_and_the_function_import_no_torch() -> None:
    for statement in (
        "from lavis.scoring import score; assert score",
        "from lavis.scoring import describe_protocols; describe_protocols()",
    ):
        code = f"import sys\n{statement}\nsys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], timeout=600, check=False).returncode == 0, statement
    assert [found.name for found in describe_protocols()] == registry.protocols.names()


def test_estimates_of_unequal_length_are_our_own_mistake() -> None:
    found = report()
    found.scored.estimates["hits"] = Estimate(found.scored.estimates["hits"].values[:-1])  # type: ignore[union-attr]
    with pytest.raises(AssertionError, match="hits"):
        point_estimates(found.scored, found.pairs.ids, found.pairs.videos)
