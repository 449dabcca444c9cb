"""How the nouns extracted from queries agree with those that CALCE publishes, and how fast they are found.

    python -m benchmarks.nouns                                    with the default tagger
    python -m benchmarks.nouns --taggers hanta spacy              with several; spacy:MODEL for another model

The published items are those of `$LAVIS_TEST_DATA` (or `../shared/data` beside the checkout): QVHighlights
(`qvhighlights/calce_items_val.json`) and Charades-STA (`charades/calce_test.json`). `same list` is the share of queries
whose items are equal, order included; precision and recall count items, repeats apart. Nearly a fifth of the lists of
QVHighlights hold phrases where the others hold single nouns; `single nouns` leaves those queries out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks._common import ROOT, Report, options
from lavis.preparation.noun_phrases import DEFAULT, agreement, extract, make_tagger

SAME = {"QVHighlights val": 0.45, "Charades-STA test": 0.78}
"""Bars: shares of equal lists."""
QUICK = 300


def main(argv: list[str] | None = None) -> int:
    parser = options(__doc__, sizes=())
    parser.add_argument("--taggers", nargs="+", default=[DEFAULT], help="default: %(default)s")
    parsed = parser.parse_args(argv)
    report = Report("nouns", parsed)
    sets = dict(published())
    if not sets:
        raise SystemExit("no published items: set LAVIS_TEST_DATA, or put them into ../shared/data")
    report.line(f"{'':<35}{'queries':>8}{'same list':>11}{'precision':>11}{'recall':>8}{'F1':>7}{'queries/s':>11}")
    for name in parsed.taggers:
        try:
            tagger = make_tagger(name)
        except (ImportError, ValueError) as error:
            raise SystemExit(str(error)) from error
        report.line(name)
        for title, rows in sets.items():
            rows = rows[:QUICK] if parsed.quick else rows
            start = time.perf_counter()
            found = extract([query for query, _ in rows], tagger)
            rate = len(rows) / (time.perf_counter() - start)
            lists = [items for _, items in rows]
            figures = agreement(found, lists)
            single = [k for k, items in enumerate(lists) if not any(" " in item for item in items)]
            plain = agreement([found[k] for k in single], [lists[k] for k in single])
            for what, row, speed in ((title, figures, f"{rate:11,.0f}"), (f"{title}, single nouns", plain, "")):
                report.line(
                    f"  {what:<33}{row.rows:>8,}{row.exact:>11.3f}{row.precision:>11.3f}{row.recall:>8.3f}"
                    f"{row.f1:>7.3f}{speed}"
                )
            if not parsed.quick:
                report.bar(f"{name}, {title}: same list", figures.exact, least=SAME[title])
    return report.finish()


def published() -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """Each set that is there, as queries and their items."""
    data = Path(os.environ.get("LAVIS_TEST_DATA") or ROOT.parent / "shared" / "data")
    files = (
        ("QVHighlights val", data / "qvhighlights" / "calce_items_val.json"),
        ("Charades-STA test", data / "charades" / "calce_test.json"),
    )
    for title, path in files:
        if path.exists():
            entries = json.loads(path.read_text(encoding="utf-8"))
            rows = entries.values() if isinstance(entries, dict) else entries
            yield title, [(row["query"], row["items"]) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
