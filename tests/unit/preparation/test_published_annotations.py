"""Whole releases become, item for item, what CALCE publishes and what MR.BLIP's notebook makes of them.

What is made is compared by its SHA-256 with CALCE's files (tjhd1475/CALCE), and with what the cells of MR.BLIP's
notebook (sudo-Boris/mr-Blip) wrote for the same releases; TACoS, which has no original, with frames divided by their
rate. Put a release into the folder of test data to check it: ``qvhighlights/``, ``charades/``, ``activitynet/``,
``tacos/``.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lavis.preparation import annotations, annotations_mr_blip
from lavis.preparation.annotations import Prepared

MADE = {
    ("calce", "qvhighlights", "train"): "526df77aa8827cf158c814832a32fb3481cd9166096eb04e6a8c526dd882e6ac",
    ("calce", "qvhighlights", "val"): "08e9ac74637163ee4336a70c23ec8999e26ee2888f5ec760440d2dc92e6e3cb5",
    ("calce", "qvhighlights", "test"): "ad47c417a5110335a7faf35652fbbb23dba8f70baeb84cad1669d496e00ccf14",
    ("calce", "charades", "train"): "fc657cbd940f4d337dca0f26064943339919960ccf51c7bb24bacea182f85614",
    ("calce", "charades", "test"): "6046cc40736d27bace83fc92b39365f9f334f6e7dcabdc67285f02a6850744a3",
    ("mr_blip", "qvhighlights", "train"): "d56ace41ddc65c2340f6046b973d65ccf0b89fac28b280cf166eb75d3051b076",
    ("mr_blip", "qvhighlights", "val"): "4bf64a12fed3faa6e3630f8df7ad8ee4aff4c0b9c02c5063d8667ad423713f16",
    ("mr_blip", "qvhighlights", "test"): "1608db2a7fce6bb65f94763989c9545157b7d71663af5e5bb55c009913d3b07b",
    ("mr_blip", "charades", "train"): "bbdf8e12a1b5855faf4b20b14930621538573125c9dd16f0aeedea37a89d4d1a",
    ("mr_blip", "charades", "test"): "efba3bfbbd4535175f7b0ddce8673457f3b4df7548868feaf3532670b78881f4",
    ("mr_blip", "activitynet", "train"): "d002d5a5c38ad90031936645ee24265402556e928eb4fd5c373f2dc9dcb5f162",
    ("mr_blip", "activitynet", "val"): "9b7d3e9bdc1a511c88f21593204d759f40091815c2ea272184040a83f3ca7ed2",
    ("mr_blip", "activitynet", "test"): "e18067d885e3e465415886f42b4063e68bd6092bd9f2bb79974b4b35c9ca86c1",
    ("mr_blip", "tacos", "train"): "6e23f7c7dcf8e7f58c741f7dd77b4f0eefffe1a734ba1ec074c2ddc1c82d4599",
    ("mr_blip", "tacos", "val"): "686e0e59ee10f083953a78a0aed9cbe407bbe4cee5b1fc10f45dd1f8eeabe987",
    ("mr_blip", "tacos", "test"): "cbcaa8de4ac0fb3897b0375b4c5f7b7ad08cbf81b48b95f418c190c768d542ee",
}
RELEASES: dict[tuple[str, str], Sequence[str]] = {
    ("calce", "qvhighlights"): ["highlight_{}_release.jsonl"],
    ("calce", "charades"): ["charades_{}_release.jsonl", "charades_sta_{}_tvr_format.jsonl", "charades_sta_{}.txt"],
    ("mr_blip", "qvhighlights"): ["highlight_{}_release.jsonl"],
    ("mr_blip", "charades"): ["charades_sta_{}.txt"],
    ("mr_blip", "activitynet"): ["{}.json"],
    ("mr_blip", "tacos"): ["{}.json"],
}
CALCE: dict[str, Callable[..., list[Prepared]]] = {
    "qvhighlights": annotations.prepare_qvhighlights,
    "charades": annotations.prepare_charades,
}
MR_BLIP: dict[str, Callable[..., list[Prepared]]] = {
    "qvhighlights": annotations_mr_blip.prepare_qvhighlights,
    "charades": annotations_mr_blip.prepare_charades,
    "activitynet": annotations_mr_blip.prepare_activitynet,
    "tacos": annotations_mr_blip.prepare_tacos,
}


def published_items(folder: Path, split: str) -> dict[str, Any]:
    """CALCE's nouns, from its items file, or else from its annotations."""
    items, rows = folder / f"calce_items_{split}.json", folder / f"calce_{split}.json"
    if items.exists():
        found: dict[str, Any] = json.loads(items.read_text())
        return found
    if not rows.exists():
        pytest.skip(f"no published nouns: put {items.name} or {rows.name} into {folder.name}/ of the test data")
    return {row["qid"]: {"query": row["query"], "items": row["items"]} for row in json.loads(rows.read_text())}


@pytest.mark.parametrize(("form", "dataset", "split"), list(MADE))
def test_made_from_the_release(form: str, dataset: str, split: str, data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / dataset
    name = annotations_mr_blip.ACTIVITYNET_FILES[split] if dataset == "activitynet" else split
    files = [file.format(name) for file in RELEASES[form, dataset]]
    if not any((folder / file).exists() for file in files):
        pytest.skip(f"no release: put {' or '.join(files)} into {dataset}/ of the test data")
    if form == "calce":
        (tmp_path / f"{split}.json").write_text(json.dumps(published_items(folder, split)))
        (done,) = CALCE[dataset](folder, tmp_path, tmp_path / "out", [split])
    else:
        (done,) = MR_BLIP[dataset](folder, tmp_path / "out", [split])
    assert hashlib.sha256(done.path.read_bytes()).hexdigest() == MADE[form, dataset, split]


def test_extraction_changes_nothing_but_the_nouns(data_dir: Path, tmp_path: Path) -> None:
    def one(queries: Sequence[str]) -> list[list[str]]:
        return [["noun"] for _ in queries]

    (done,) = annotations.prepare_charades(data_dir / "charades", one, tmp_path, ["test"])
    published = json.loads((data_dir / "charades" / "calce_test.json").read_text())
    assert json.loads(done.path.read_text()) == [{**row, "items": ["noun"]} for row in published]


def test_mr_blip_qvhighlights_is_calces_without_nouns(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "qvhighlights"
    (done,) = annotations_mr_blip.prepare_qvhighlights(folder, tmp_path, ["val"])
    published = json.loads((folder / "calce_val_stage2.json").read_text())
    added = ("items", "stage1_result")
    expected = [{key: value for key, value in row.items() if key not in added} for row in published]
    assert json.loads(done.path.read_text()) == expected


def test_mr_blip_charades_from_the_text_form(data_dir: Path, tmp_path: Path) -> None:
    """All 3,720 queries of the test split, written as text and table, against the rows that they come from."""
    rows = [json.loads(line) for line in (data_dir / "charades" / "charades_test_release.jsonl").open()]
    with (tmp_path / "Charades_v1_test.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "objects", "length"])
        table.writerows([video, "bag;bed", length] for video, length in {r["vid"]: r["duration"] for r in rows}.items())
    lines = ["{} {} {}##{}\n".format(row["vid"], *row["relevant_windows"][0], row["query"]) for row in rows]
    (tmp_path / "charades_sta_test.txt").write_text("".join(lines))
    (done,) = annotations_mr_blip.prepare_charades(tmp_path, tmp_path / "out", ["test"])
    numbers: dict[str, int] = {}
    expected = []
    for row in rows:
        numbers[row["vid"]] = number = numbers.get(row["vid"], -1) + 1
        expected.append({
            "video": row["vid"], "qid": f"CharadesSTA_{row['vid']}_{number}", "query": row["query"],
            "duration": row["duration"], "relevant_windows": row["relevant_windows"], "objects": ["bag", "bed"],
        })  # fmt: skip
    assert done.path.name == "test_float.json"
    assert json.loads(done.path.read_text()) == expected
