from __future__ import annotations

from pathlib import Path

import pytest

from lavis.common.config import Config, ConfigError, config_roots, find_config, list_configs, load_config, parse_options
from lavis.common.yaml_tree import parse_yaml


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


def put(root: Path, name: str, text: str) -> Path:
    file = root / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_base_then_file_then_options(root: Path) -> None:
    put(root, "parts/base", "a: {x: 1, y: [1, 2]}\nb: 5\n")
    put(root, "parts/other", "b: 6\nc: ok\n")
    put(root, "main", "_base_: [parts/base, parts/other.yaml]\na: {y: [3], z: 7}\n")
    config = load_config("main", ["a.x=2", "d.e={f: 3e-4}"])
    assert config.tree == {"a": {"x": 2, "y": [3], "z": 7}, "b": 6, "c": "ok", "d": {"e": {"f": 3e-4}}}
    assert config.find("d.e.f") == 3e-4
    assert config.find("d.nothing", 1) == 1
    assert dict(config) == config.tree
    assert len(config) == 4


def test_origins(root: Path) -> None:
    put(root, "base", "a:\n  x: 1\n  y: 2\nempty: {}\n")
    main = put(root, "main", "_base_: base\na:\n  y: 3\n  z: [1, 2]\n")
    config = load_config(main, ["a.w=0"])
    assert config.origin("a.x") == "configs/base.yaml:2"
    assert config.origin("a.y") == "configs/main.yaml:3"
    assert config.origin(("a", "z", 1)) == "configs/main.yaml:4"
    assert config.origin("a.w") == "--options"
    assert config.origin("empty") == "configs/base.yaml:4"
    assert config.origin("a") == "configs/base.yaml:2"
    assert config.origin("nothing.at.all") == "configs/main.yaml"
    assert set(config.origins) == {("a", "x"), ("a", "y"), ("a", "z"), ("a", "w"), ("empty",)}


def test_changed_name_replaces_its_node(root: Path) -> None:
    put(root, "base", "name: one\nmodel: {codec: {name: a, bins: 3}, other: {name: p, q: 1}}\n")
    put(root, "main", "_base_: base\nname: two\nmodel: {codec: {name: b}, other: {name: p, r: 2}}\n")
    config = load_config("main")
    assert config.tree["model"] == {"codec": {"name": "b"}, "other": {"name": "p", "q": 1, "r": 2}}
    assert config.name == "two"
    changed = load_config("base", ["model.codec.size=4", "model.codec.name=b"])
    assert changed["model"]["codec"] == {"size": 4, "name": "b"}
    assert ("model", "codec", "bins") not in changed.origins


def test_interpolation(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "main", 'root: "${oc.env:SOME_ROOT,data}"\nvideo: ${root}/v.mp4\nn: 3\nm: ${n}\nkeep: "{split}.json"\n')
    monkeypatch.delenv("SOME_ROOT", raising=False)
    assert load_config("main")["video"] == "data/v.mp4"
    assert load_config("main", ["root=other"])["video"] == "other/v.mp4"
    monkeypatch.setenv("SOME_ROOT", "/d")
    config = load_config("main")
    assert config["video"] == "/d/v.mp4"
    assert config["m"] == 3
    assert config["keep"] == "{split}.json"


def test_broken_interpolation_names_key_and_line(root: Path) -> None:
    put(root, "main", "a:\n  b: ${c.d}\n")
    with pytest.raises(ConfigError, match=r"^configs/main\.yaml:2: a\.b: .*'c\.d'"):
        load_config("main")
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE"):
        load_config("main", ["c.d=${oc.env:NOT_SET_ANYWHERE}"])


def test_circles_are_found(root: Path) -> None:
    put(root, "a", "_base_: b\n")
    put(root, "b", "_base_: a\n")
    with pytest.raises(ConfigError, match=r"circle: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        load_config("a")


def test_shared_base_is_no_circle(root: Path) -> None:
    put(root, "base", "x: 1\n")
    put(root, "left", "_base_: base\n")
    put(root, "right", "_base_: base\ny: 2\n")
    put(root, "main", "_base_: [left, right]\n")
    assert load_config("main").tree == {"x": 1, "y": 2}


def test_places_of_files(root: Path, tmp_path: Path) -> None:
    inside = put(root, "experiments/x", "a: 1\n")
    assert find_config("experiments/x") == inside
    assert find_config("experiments/x.yaml") == inside
    assert find_config("configs/experiments/x.yaml") == inside
    assert find_config(inside) == inside
    outside = put(tmp_path / "elsewhere", "main", "_base_: ./near\nb: 2\n")
    put(tmp_path / "elsewhere", "near", "_base_: experiments/x\n")
    assert load_config(outside).tree == {"a": 1, "b": 2}
    assert config_roots()[0] == root
    assert "x" in list_configs("experiments")


def test_missing_file_has_suggestion(root: Path) -> None:
    put(root, "experiments/calce_one", "a: 1\n")
    with pytest.raises(ConfigError, match=r"Did you mean 'experiments/calce_one\.yaml'\?"):
        find_config("experiments/calce_onee")
    put(root, "main", "_base_: nowhere\n")
    with pytest.raises(ConfigError, match=r"_base_ of .*main\.yaml: no file 'nowhere'"):
        load_config("main")
    put(root, "main", "_base_: {a: 1}\n")
    with pytest.raises(ConfigError, match="must be a path or a list of paths"):
        load_config("main")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", r":2: key 'a' is given twice \(first on line 1\)"),
        ("l: [{a: 1, a: 2}]", "key 'a' is given twice"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag .* is not allowed"),
        ("a: !env X\n", "tag '!env' is not allowed"),
        ("a: [1\nb: 2\n", r":2, column 2: not YAML"),
        ("a: b: c\n", r":1, column 5: not YAML"),
        ("\ta: 1\n", "cannot start any token"),
        ("- 1\n", "a configuration is a mapping of keys, got list"),
        ("a: &x 1\nb: *x\n", "anchors and aliases are not read"),
        ("a: {<<: {b: 1}}\n", "merge keys are not read"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("? [1, 2]\n: 3\n", "a key must be plain text"),
        ("[" * 5000, "nested too deeply|not YAML"),
    ],
)
def test_malformed_yaml(root: Path, text: str, message: str) -> None:
    put(root, "main", text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config("main")
    assert "main.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4), ("2.8e-4", 2.8e-4), ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-7", -7), ("1_000", 1000),
        ("010", 10), ("0", 0), ("12:30", "12:30"), ("yes", "yes"), ("off", "off"), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None), ("2026-01-02", "2026-01-02"), ("1.2.3", "1.2.3"), ("'1'", "1"),
        (".inf", float("inf")), ("e5", "e5"), ("0x10", "0x10"), ("[a, 1]", ["a", 1]), ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    parsed = parse_yaml(text, "text", allow_any=True).value
    assert parsed == value
    assert type(parsed) is type(value)


def test_empty_file(root: Path) -> None:
    put(root, "main", "# only a comment\n")
    assert load_config("main").tree == {}


def test_options_in_both_spellings() -> None:
    tree = parse_options(["run.lr=3e-4", "run.name", "a=b", "run.path=x=y", "list=[1, 2]", "text="])
    assert tree.value == {"run": {"lr": 3e-4, "name": "a=b", "path": "x=y"}, "list": [1, 2], "text": None}
    assert parse_options(["a.b=1", "a.b=2", "c=1", "c.d=2"]).value == {"a": {"b": 2}, "c": {"d": 2}}


@pytest.mark.parametrize("options", [["a.b"], ["=3"], ["a..b=1"], ["a b=1"], ["a=[1"], ["a=!x 1"]])
def test_malformed_options(options: list[str]) -> None:
    with pytest.raises(ConfigError, match="--options"):
        parse_options(options)


def test_saved_tree_reads_back(root: Path, tmp_path: Path) -> None:
    put(root, "main", 'a: {lr: 3e-4, text: "yes", time: "12:30", n: null, list: [1, {b: "é"}], e: {}, num: "1e3"}\n')
    config = load_config("main", ["a.x=${a.lr}"])
    saved = config.save(tmp_path / "out" / "config.yaml")
    assert load_config(saved).tree == config.tree


def test_yaml_with_origins_is_yaml(root: Path) -> None:
    put(root, "main", 'a:\n  b: [1, 2]\n  c: "x: y"\nd: null\n')
    config = load_config("main", ["a.e=1"])
    text = config.to_yaml(origins=True)
    assert "  b: [1, 2]  # configs/main.yaml:2" in text
    assert "  e: 1  # --options" in text
    assert parse_yaml(text, "shown").value == config.tree


def test_from_mapping_copies_and_resolves() -> None:
    source = {"a": {"b": [1]}, "c": "${a.b}"}
    config = Config.from_mapping(source)
    config["a"]["b"].append(2)
    assert source == {"a": {"b": [1]}, "c": "${a.b}"}
    assert config["c"] == [1]
    assert config.name == "unnamed"
    assert config.origin("a.b") == ""


def test_bases_given_as_options_are_laid_upon_the_file(tmp_path: Path) -> None:
    for name, text in {
        "a": "run: {seed: 1, epochs: 1, batch_size: 1}", "b": "run: {seed: 2, epochs: 2}", "c": "_base_: ./d\n",
        "d": "run: {seed: 3}",
    }.items():  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(text)
    options = [f"_base_={tmp_path / 'b'}", "run.epochs=5", f"_base_={tmp_path / 'c'}"]
    config = load_config(tmp_path / "a", options)
    assert config.tree == {"run": {"seed": 3, "epochs": 5, "batch_size": 1}}
    assert config.origin("run.epochs") == "--options"
    assert config.origin("run.seed").endswith("d.yaml:1")
    with pytest.raises(ConfigError, match="no file"):
        load_config(tmp_path / "a", ["_base_=nowhere/to/be/found"])
