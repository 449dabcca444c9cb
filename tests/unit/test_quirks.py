"""The ledger of quirks says what is so: every parameter exists, and its default is that of the systems named."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lavis.common.config import load_config
from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig, LoraConfig, RunConfig
from lavis.common.signatures import kind_of_key
from lavis.models.keyframes import KeyframeSettings
from lavis.models.prompts.subtitle_choice import SubtitleChoice
from lavis.processors.view import View
from lavis.runners.pipeline_stages import read_stages
from lavis.scoring.questions import leaderboards

LEDGER = Path(__file__).resolve().parents[2] / "docs" / "quirks.md"
CONFIGS = {
    "both": ["calce/qvh_stage1", "mr_blip/qvh"],
    "CALCE": ["calce/qvh_stage1"],
    "CALCE 2": ["calce/qvh_stage2"],
    "CALCE pipeline": [],
    "CALCE Charades": ["calce/charades_stage1", "calce/charades_stage2"],
    "MR.BLIP": ["mr_blip/qvh"],
    "MR.BLIP Charades": ["mr_blip/charades"],
    "MR.BLIP QA": ["mr_blip/nextgqa"],
    "MR.BLIP TAL": ["mr_blip/anet_tal"],
    "MR.BLIP relative": [],
    "MeCo": ["meco/stage3_phi3", "meco/stage3_minicpmv_qwen2"],
    "E.T. Chat": ["etchat/stage3_phi3"],
    "MeCo Phi-3, E.T. Chat": ["meco/stage3_phi3", "etchat/stage3_phi3"],
    "E.T. Chat inference": ["etchat/etbench"],
    "MeCo Qwen2 stage 1": ["meco/stage1_minicpmv_qwen2"],
    "MeCo, E.T. Chat stage 2": ["meco/stage2_phi3", "meco/stage2_minicpmv_qwen2", "etchat/stage2_phi3"],
    "MeCo, E.T. Chat stage 3": ["meco/stage3_phi3", "meco/stage3_minicpmv_qwen2", "etchat/stage3_phi3"],
    "MeCo, E.T. Chat inference": ["meco/etbench", "meco/charades_sta", "meco/qvhighlights", "etchat/etbench"],
    "all": ["calce/qvh_stage1", "mr_blip/qvh"],
}
SETTINGS: dict[str, Any] = {
    "frames": View, "generation": GenerationConfig, "keyframes": KeyframeSettings, "lora": LoraConfig,
    "subtitle_choice": SubtitleChoice,
}  # fmt: skip


def rows() -> list[list[str]]:
    """Cells of the tables of parameters, headers left out."""
    lines = [line for line in LEDGER.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if len(row) == 6 and row[0] != "system" and not row[0].startswith("-")]


ALL_ROWS = rows()
PART_KINDS = "protocols|judges|leaderboards|formats|readers|samplers|transforms|prompts|heads|codecs"
OF_A_PART = re.compile(rf"`({PART_KINDS})\.(\w+)\.(\w+)`")
ROWS = [row for row in ALL_ROWS if not OF_A_PART.fullmatch(row[2])]
PART_ROWS = [row for row in ALL_ROWS if OF_A_PART.fullmatch(row[2])]


def signature_default(target: Any, key: str) -> Any:
    parameter = inspect.signature(target).parameters.get(key)
    assert parameter is not None, f"{target} has no parameter {key}"
    default = parameter.default
    return None if default is inspect.Parameter.empty else default


def effective(tree: Mapping[str, Any], dotted: str) -> Any:
    """The value at a key: as configured, else the default of the constructor that the node is for.

    Raises:
        AssertionError: if there is no such parameter.
    """
    node: Any = tree
    keys = dotted.split(".")
    for position, key in enumerate(keys):
        if key == "<name>":
            (key,) = node
        if isinstance(node, list):
            node = node[int(key)]
            continue
        if key == "counter" or key == "decay":
            return signature_default(registry.schedules.get(node if isinstance(node, str) else node["name"]), key)
        if key in node:
            node = node[key]
            continue
        if keys[0] == "run":
            return operator.attrgetter(".".join(keys[1:]))(RunConfig())
        assert position == len(keys) - 1, f"{dotted}: there is no {key}"
        return default_of(keys[position - 1], node, key)
    return node


def default_of(where: str, node: Mapping[str, Any], key: str) -> Any:
    if where in SETTINGS:
        return signature_default(SETTINGS[where], key)
    if where == "model":
        assert key == "seed"
        return 0
    if where == "<name>":
        return signature_default(registry.datasets.get(node["name"]), key)
    kind = kind_of_key("transform" if where in ("train", "eval") else where)
    assert kind is not None, f"nobody knows what stands under {where}"
    return signature_default(kind.get(node["name"]), key)


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[2].strip('`')}")
def test_defaults_are_as_written(row: list[str]) -> None:
    system, _, parameter, default, why, test = row
    key = parameter.strip("`")
    written = re.match(r"`([^`]*)`", default)
    assert why
    assert "::" in test
    if system == "MR.BLIP relative":
        value = signature_default(registry.codecs.get("relative_text"), key.rpartition(".")[2])
        assert written is not None
        assert plain(value) == yaml.safe_load(written[1])
    if system == "CALCE pipeline":
        assert written is not None
        for name in ("calce_qvh", "calce_charades"):
            stages = read_stages(load_config(f"pipelines/{name}"), [], ["train", "infer", "evaluate", "report"])
            found = {getattr(stage, key.rpartition(".")[2]) for stage in stages if stage.action == "infer"}
            assert found == {yaml.safe_load(written[1])}
    for name in CONFIGS[system]:
        value = effective(load_config(f"experiments/{name}").tree, key)
        if written is None:
            assert value is not None, f"{name}: {key} is not set"
        elif "listed" in default:
            assert written[1] in value
        else:
            assert plain(value) == yaml.safe_load(written[1]), f"{name}: {key} is {value!r}"


@pytest.mark.parametrize("row", PART_ROWS, ids=lambda row: row[2].strip("`"))
def test_defaults_of_parts_are_as_written(row: list[str]) -> None:
    found = OF_A_PART.fullmatch(row[2])
    written = re.match(r"`([^`]*)`", row[3])
    assert found is not None and written is not None
    kind, name, option = found.groups()
    if kind == "leaderboards":
        value = signature_default(getattr(leaderboards, name), option)
    elif option in ("missing", "extra"):
        value = getattr(registry.protocols.get(name), option)
    else:
        value = signature_default(registry.kinds()[kind].get(name), option)
    assert plain(value) == yaml.safe_load(written[1])


def test_the_ledger_is_no_shorter_than_it_was() -> None:
    assert len(ROWS) >= 60


def test_charades_is_validated_on_test() -> None:
    for name in CONFIGS["CALCE Charades"] + CONFIGS["MR.BLIP Charades"]:
        annotations = load_config(f"experiments/{name}")["datasets"]["charades_sta"]["annotations"]
        assert annotations["val"] == annotations["test"]


def test_subtitles_are_read_by_bert_below_blip2() -> None:
    weights = load_config("experiments/calce/qvh_stage1")["model"]["weights"]
    order = [next(i for i, file in enumerate(weights) if part in file) for part in ("bert-base", "blip2_")]
    assert order == sorted(order)
