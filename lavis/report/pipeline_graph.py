"""The graph of a pipeline: its stages and the files between them, as SVG in a page, from the record alone.

Files that the same stage writes and the same stages read are one node. What comes from outside is told in the stage
that reads it, since lines from the data to every stage would hide all others; a generated corpus has lines to the
stages that read nothing else. ``layers.py`` places the nodes: so small a graph needs no Graphviz.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from lavis.common.io import PathLike, read_json, write_text
from lavis.report.document import document
from lavis.report.layers import arranged
from lavis.report.markup import duration, element, joined, text

KINDS = {
    ".safetensors": "weights", ".pth": "weights", ".bin": "weights", ".jsonl": "predictions", ".json": "annotations",
    ".mp4": "videos", ".srt": "subtitles", ".html": "page", ".txt": "table",
}  # fmt: skip
READ_AS = {"prior": "predictions"}
STATES = {
    "ran": "done in the last run",
    "up to date": "up to date, passed over",
    "under way": "under way or interrupted",
    "failed": "failed",
    "not done": "not done yet",
}
WIDTH, STAGE_HEIGHT, FILE_HEIGHT, ROW_GAP, COLUMN_GAP, MARGIN = 216, 76, 30, 30, 22, 8
NAME_LENGTH = 24
CORPUS = "generate"


@dataclass
class Node:
    """A stage, or files that share writer and readers.

    Args:
        key: unique.
        label: text in the node.
        note: second line of a stage: its action and time.
        reads: third line of a stage: what it reads from outside.
        state: one of ``STATES``; empty for files.
        title: what a tooltip says: paths and digests.
        after: keys of the nodes it comes from.
    """

    key: str
    label: str
    note: str = ""
    reads: str = ""
    state: str = ""
    title: str = ""
    after: list[str] = field(default_factory=list)


def write_page(record: PathLike) -> Path:
    """Writes ``<record without ending>.html``, a page that needs nothing else.

    Returns:
        the page.
    """
    path = Path(record)
    known = read_json(path)
    body = joined(
        [
            element(
                "header",
                element("div", element("p", "Pipeline", class_="over"), _theme_button(), class_="top"),
                element("h1", text(known["pipeline"])),
                element("p", text(_headline(known)), class_="headline"),
                class_="page",
            ),
            element("main", element("section", graph_section(known, path))),
            element("footer", element("p", "Made by LAVIS Moments. This page loads nothing from elsewhere.")),
        ]
    )
    return write_text(path.with_suffix(".html"), document(f"{known['pipeline']}: pipeline", body))


def graph_section(known: Mapping[str, Any], record: Path) -> str:
    """The graph, its legend, and every stage with all it read and wrote.

    Args:
        known: content of a pipeline's record.
        record: where it lies, two folders or more below the pipeline's output folder.
    """
    root = record.parents[len(Path(known["pipeline"]).parts)]
    nodes = nodes_of(known, root)
    present = {node.state for node in nodes if node.state}
    legend = [
        element("li", element("i", class_=f"state {_class(state)}"), text(words))
        for state, words in STATES.items()
        if state in present
    ]
    details = [_details(name, known["stages"].get(name, {})) for name in known["order"]]
    return joined(
        [
            element("ul", *legend, class_="legend"),
            element("div", _svg(nodes), class_="scroller graph"),
            element("div", joined(details), class_="stages"),
        ]
    )


def nodes_of(known: Mapping[str, Any], root: Path) -> list[Node]:
    """Stages in order, and the files between them."""
    stages = {name: known["stages"].get(name, {}) for name in known["order"]}
    writers = {
        os.path.abspath(root / key): name for name, stage in stages.items() for key in stage.get("outputs") or {}
    }
    fed = {
        name
        for name, stage in stages.items()
        for each in (stage.get("inputs") or {}).values()
        if stages.get(_writer(os.path.abspath(each["path"]), writers), {}).get("action", CORPUS) != CORPUS
    }
    readers: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for name, stage in stages.items():
        for each in (stage.get("inputs") or {}).values():
            path = os.path.abspath(each["path"])
            writer = _writer(path, writers)
            if writer not in ("", name) and not (stages[writer].get("action") == CORPUS and name in fed):
                readers.setdefault((writer, path), []).append((name, each))
    groups: dict[tuple[str, tuple[str, ...]], dict[str, Mapping[str, Any]]] = {}
    for (writer, path), rows in readers.items():
        key = (writer, tuple(dict.fromkeys(name for name, _ in rows)))
        groups.setdefault(key, {})[path] = rows[0][1]
    read = {os.path.abspath(each["path"]) for s in stages.values() for each in (s.get("inputs") or {}).values()}
    for name, stage in stages.items():
        made = {} if stage.get("action") == CORPUS else stage.get("outputs") or {}
        for key, digest in made.items():
            path = os.path.abspath(root / key)
            if path not in read and not any(Path(path).is_relative_to(each) for each in read):
                groups.setdefault((name, ()), {})[path] = {"path": str(root / key), "digest": digest, "kind": "output"}
    nodes = {name: _stage_node(name, stage, writers) for name, stage in stages.items()}
    files = []
    for number, ((writer, names), members) in enumerate(groups.items()):
        node = _file_node(f"files {number}", members.values())
        node.after = [writer]
        files.append(node)
        for name in names:
            nodes[name].after.append(node.key)
    for before, name in pairwise(stages):
        if "inputs" not in stages[name]:
            nodes[name].after = [before]  # what it will read is not known yet
    return [*nodes.values(), *files]


def _writer(path: str, writers: Mapping[str, str]) -> str:
    """The stage that writes a file, or files of a folder; empty for what comes from outside."""
    if path in writers:
        return writers[path]
    return next((name for file, name in writers.items() if file.startswith(path + os.sep)), "")


def _stage_node(name: str, stage: Mapping[str, Any], writers: Mapping[str, str]) -> Node:
    state = state_of(stage)
    took = f" · {duration(stage['seconds'])}" if stage.get("seconds") is not None else ""
    facts = [name, STATES[state]]
    if stage.get("failed"):
        facts.append(stage["failed"])
    if stage.get("code"):
        facts.append(f"code {stage['code']['lavis'][:12]}")
    inputs = {each["path"]: each for each in (stage.get("inputs") or {}).values()}
    outside = [each for path, each in inputs.items() if not _writer(os.path.abspath(path), writers)]
    kinds = dict.fromkeys(_kind(each) for each in outside if each["kind"] != "model")
    facts += [f"{each['path']}\n  {(each['digest'] or 'absent')[:12]}" for each in outside[:12]]
    return Node(name, name, f"{stage.get('action', '')}{took}", ", ".join(kinds), state, "\n".join(facts))


def state_of(stage: Mapping[str, Any]) -> str:
    """One of ``STATES``."""
    if "outputs" not in stage:
        return "not done"
    if stage["outputs"] is None:
        return "failed" if stage.get("failed") else "under way"
    return str(stage.get("last", "up to date"))


def _file_node(key: str, members: Iterable[Mapping[str, Any]]) -> Node:
    rows = list(members)
    label = Path(rows[0]["path"]).name if len(rows) == 1 else _words(rows)
    shown = [f"{row['path']}\n  {(row['digest'] or 'absent')[:12]}" for row in rows[:12]]
    more = [f"and {len(rows) - 12} more"] if len(rows) > 12 else []
    return Node(key, label, title="\n".join([*shown, *more]))


def _words(rows: Iterable[Mapping[str, Any]]) -> str:
    """Files by kind: ``3 annotations, videos``."""
    kinds: dict[str, int] = {}
    for row in rows:
        kinds[_kind(row)] = kinds.get(_kind(row), 0) + 1
    words = [
        kind if count == 1 else f"{count} {kind if kind.endswith('s') else kind + 's'}" for kind, count in kinds.items()
    ]
    return ", ".join(words)


def _kind(row: Mapping[str, Any]) -> str:
    if row["kind"] in ("output", "file"):
        if Path(row["path"]).name == "metrics.json":
            return "figures"
        return KINDS.get(Path(row["path"]).suffix, "file")
    return READ_AS.get(row["kind"], str(row["kind"]))


def _svg(nodes: Sequence[Node]) -> str:
    layout = arranged({node.key: node.after for node in nodes}, {n.key for n in nodes if n.state}, WIDTH, COLUMN_GAP)
    tops, top = [], float(MARGIN)
    for row in layout.rows:
        tops.append(top)
        top += (STAGE_HEIGHT if any(key in layout.stages for key in row) else FILE_HEIGHT) + ROW_GAP
    height = top - ROW_GAP + MARGIN
    place = {key: (layout.x[key] + MARGIN, tops[number]) for number, row in enumerate(layout.rows) for key in row}
    size = {key: STAGE_HEIGHT if key in layout.stages else FILE_HEIGHT for key in place}
    lines = []
    for chain in layout.chains:
        points = [(place[key][0], place[key][1], size[key]) for key in chain]
        lines.append(element("path", d=_curve(points), class_="edge"))
    boxes = [_box(node, *place[node.key]) for node in nodes]
    width = layout.width + 2 * MARGIN
    return element(
        "svg",
        joined([*lines, *boxes]),
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        aria_label="Stages of the pipeline and the files between them; listed below",
    )


def _curve(points: Sequence[tuple[float, float, float]]) -> str:
    """From the bottom of the first box to the top of the last, through the places kept free for it between."""
    x, y, high = points[0]
    y += high
    path = [f"M{x:g} {y:g}"]
    for number, (next_x, next_y, next_high) in enumerate(points[1:], start=2):
        middle = (y + next_y) / 2
        path.append(f"C{x:g} {middle:g} {next_x:g} {middle:g} {next_x:g} {next_y:g}")
        x, y = next_x, next_y
        if number < len(points):
            y = next_y + next_high
            path.append(f"L{x:g} {y:g}")
    return "".join(path)


def _box(node: Node, x: float, y: float) -> str:
    left = x - WIDTH / 2
    title = element("title", text(node.title))
    if not node.state:
        shape = element("rect", x=f"{left:g}", y=f"{y:g}", width=WIDTH, height=FILE_HEIGHT, rx=FILE_HEIGHT / 2)
        name = element("text", text(_short(node.label)), x=f"{x:g}", y=f"{y + 20:g}", class_="file-name")
        return element("g", title, shape, name, class_="file")
    shape = element("rect", x=f"{left:g}", y=f"{y:g}", width=WIDTH, height=STAGE_HEIGHT, rx=9)
    mark = element("rect", x=f"{left:g}", y=f"{y:g}", width=6, height=STAGE_HEIGHT, rx=3, class_="mark")
    name = element("text", text(_short(node.label)), x=f"{left + 18:g}", y=f"{y + 25:g}", class_="stage-name")
    note = element("text", text(node.note), x=f"{left + 18:g}", y=f"{y + 44:g}", class_="stage-note")
    reads = element("text", text(_short(node.reads, 30)), x=f"{left + 18:g}", y=f"{y + 63:g}", class_="stage-reads")
    return element("g", title, shape, mark, name, note, reads, class_=f"stage {_class(node.state)}")


def _short(label: str, length: int = NAME_LENGTH) -> str:
    return label if len(label) <= length else f"{label[: length - 1]}…"


def _details(name: str, stage: Mapping[str, Any]) -> str:
    rows = [
        element("div", element("dt", text(key)), element("dd", text(each["path"]), " ", _hash(each["digest"])))
        for key, each in (stage.get("inputs") or {}).items()
    ]
    rows += [
        element("div", element("dt", "writes"), element("dd", text(key), " ", _hash(digest)))
        for key, digest in list((stage.get("outputs") or {}).items())[:50]
    ]
    took = f", {duration(stage['seconds'])}" if stage.get("seconds") is not None else ""
    finished = f", {stage['finished'].replace('T', ' ').removesuffix('+00:00')} UTC" if stage.get("finished") else ""
    summary = f"{name}: {STATES[state_of(stage)]}{took}{finished}"
    if stage.get("failed"):
        rows.insert(0, element("div", element("dt", "failed"), element("dd", text(stage["failed"]))))
    return element("details", element("summary", text(summary)), element("dl", joined(rows)))


def _hash(digest: str | None) -> str:
    return element("code", text(digest[:12] if digest else "absent"), title=digest)


def _headline(known: Mapping[str, Any]) -> str:
    states = [state_of(known["stages"].get(name, {})) for name in known["order"]]
    words = [f"{states.count(state)} {meaning}" for state, meaning in STATES.items() if state in states]
    seconds = sum(known["stages"].get(name, {}).get("seconds") or 0.0 for name in known["order"])
    return f"{len(states)} stages: {', '.join(words)}. The stages took {duration(seconds)} in all."


def _theme_button() -> str:
    return element("button", "Theme", type="button", id="theme", hidden=True, aria_label="Switch light and dark")


def _class(state: str) -> str:
    return state.replace(" ", "-")
