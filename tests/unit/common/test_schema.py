"""The check of whole configurations, and the dataclasses and signatures behind it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from lavis.common.binding import Binder, bind_dataclass
from lavis.common.check import EXPERIMENT, check, import_modules, require_valid
from lavis.common.config import Config, ConfigError, load_config
from lavis.common.registry import registry
from lavis.common.schema import GenerationConfig, LoraConfig, MonitorConfig, RunConfig
from lavis.common.signatures import describe, parameters

TINY = "tiny/calce_stage1"


def problems(*options: str, base: str = TINY, required: Sequence[str] = ()) -> list[str]:
    return [str(problem) for problem in check(load_config(base, options), required)]


def messages(**tree: Any) -> list[str]:
    return [str(problem) for problem in check(Config.from_mapping(tree))]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("modle=1", "modle: unknown key of a configuration. Did you mean 'model'?"),
        ("model.comprssor=1", "Did you mean 'compressor'?"),
        (
            "model.encoder.image_sizes=1",
            "model.encoder.image_sizes: unknown key of encoder 'eva_vit'. Did you mean 'im",
        ),
        ("model.encoder.width=wide", "model.encoder.width: must be a whole number, got 'wide'"),
        ("model.encoder.width=3.0", "must be a whole number, got 3.0 (write 3)"),
        ("model.encoder.use_checkpoint=1", "must be true or false, got 1"),
        ("model.encoder.name=eva_vti", "unknown encoder 'eva_vti'. Did you mean 'eva_vit'? Known:"),
        ("model.encoder=null", "model.encoder: must be a mapping with a name"),
        ("model.localizer=single_pas", "unknown localizer 'single_pas'. Did you mean 'single_pass'?"),
        ("model.compressor.encoder_width=3", "gets 'encoder_width' from the builder; remove it"),
        ("model.compressor.keyframes.mode=clusters", "must be one of cluster, information, interval, none, got"),
        ("model.compressor.keyframes.modes=cluster", "unknown key of KeyframeSettings. Did you mean 'mode'?"),
        ("model.compressor.keyframes.budget=2", "keyframes.budget must be a fraction in (0, 1], got 2"),
        ("model.language_model.lora.rank=0", "model.language_model.lora: rank must be at least 1, got 0"),
        ("model.language_model.lora={r: 4}", "unknown key of LoraConfig"),
        ("model.generation.num_beams=0", "num_beams must be at least 1"),
        ("model.subtitle_choice.max_line=1", "Did you mean 'max_lines'?"),
        ("model.trainable=a.*", "model.trainable: must be a list of text or null, got 'a.*'"),
        ("model.weights=[1]", "model.weights.0: must be text, got 1 (put it in quotes)"),
        ("model.processor.views.frames.sampler.num_frames=x", "num_frames: must be a whole number, got 'x'"),
        ("model.processor.views.frames.times=avg", "must be one of presentation, average_rate, got 'avg'"),
        ("model.processor.views.frames.transform.eval=null", "views.frames.transform.eval"),
        ("run.init_lr=1e-3", "run.init_lr: unknown key of RunConfig. LAVIS' init_lr is called 'learning_rate' here."),
        ("run.decode.seconds=0", "run.decode: seconds must be above 0, got 0"),
        ("run.decode.max_errors=1.5", "max_errors must be below 1 (a share) or a whole number, got 1.5"),
        ("run.decode.isolate=maybe", "must be true or false or auto, got 'maybe'"),
        ("run.precision=fp8", "run.precision: must be one of fp32, bf16, fp16, got 'fp8'"),
        ("run.betas=[0.9]", "run.betas: must be a list of 2 values, got 1 values"),
        ("run.batch_size=0", "run: batch_size must be at least 1, got 0"),
        ("run.device=gpu", "run: device must be auto, cpu, cuda, cuda:N or mps, got 'gpu'"),
        ("run.schedule=linear", "run.schedule.name: unknown schedule 'linear'"),
        ("run.schedule={name: constant, epochs: 3}", "gets 'epochs' from the builder; remove it"),
        ("run.hooks=[{name: timer, foo: 1}]", "run.hooks.0.foo: unknown key of hook 'timer'"),
        ("run.monitor={split: dev}", "run.monitor: split 'dev' is none of run.valid_splits ['val']"),
        (
            "run.valid_splits=[dev]",
            "run.monitor: split 'val' is none of run.valid_splits ['dev']; set run.monitor.split",
        ),
        ("run.lr_groups={'a.*': fast}", "run.lr_groups.a.*: must be a number, got 'fast'"),
        ("task=moment_retreival", "unknown task 'moment_retreival'. Did you mean 'moment_retrieval'?"),
        ("task={name: moment_retrieval, metrics: [temporl]}", "Did you mean 'temporal'?"),
        ("datasets=[a]", "datasets: must map names of your choice to datasets"),
        (
            "datasets={a: {name: grounding, format: calce, annotations: {}}}",
            "datasets.a: dataset 'grounding' needs the key 'videos' (text)",
        ),
        ("imports=[nowhere_to_be_found]", "imports.0: module 'nowhere_to_be_found' cannot be imported"),
        ("imports=['os; x']", "imports.0: must be the name of a module"),
        ("name=3", "name: must be text, got 3"),
    ],
)
def test_one_fault_is_one_problem(option: str, message: str) -> None:
    found = problems(option)
    assert len(found) == 1, found
    assert message in found[0]
    assert found[0].endswith("[--options]") or "[configs/" in found[0] or "configs/tiny" in found[0]


def test_all_problems_come_together_with_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"_base_: {TINY}\nmodel:\n  codec:\n    stile: x\nrun: {{batch_size: many}}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        require_valid(load_config("mine", ["model.encoder.depth=deep"]))
    text = str(caught.value)
    assert "5 problems" in text
    assert "model.codec.stile: unknown key of codec 'seconds_text'. Did you mean 'style'?  [mine.yaml:4]" in text
    assert "run.batch_size: must be a whole number, got 'many'  [mine.yaml:5]" in text
    assert "model.encoder.depth: must be a whole number, got 'deep'  [--options]" in text
    assert "datasets: this section is missing" in text
    assert "task: this section is missing" in text


def test_splits_must_exist() -> None:
    grounding = {"name": "grounding", "format": {"name": "calce"}, "videos": "v", "annotations": {"train": "a"}}
    mixture = {"name": "mixture", "parts": {"one": grounding}}
    for node in (grounding, mixture):
        found = messages(
            datasets={"d": node}, run={"train_splits": ["train"], "valid_splits": [], "test_splits": ["tset"]}
        )
        assert found == ["run.test_splits: no dataset has a split 'tset'; there are train"]


def test_sound_configurations_have_no_problems() -> None:
    assert problems() == []
    assert problems(base="experiments/calce/qvh_stage2", required=EXPERIMENT) == []
    require_valid(load_config("experiments/mr_blip/charades"))


def test_parts_of_a_third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_parts.py").write_text(
        "from lavis.common.registry import registry\n"
        "from lavis.models.localizers.base import Localizer\n"
        "@registry.localizers.register('twice')\n"
        "class Twice(Localizer):\n"
        "    requires = {'codec': ('relative_text',)}\n"
        "    def __init__(self, times: int = 2) -> None: ...\n"
        "    def __call__(self, model, batch): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        options = ["imports=[my_parts]", "model.localizer={name: twice, times: 3}"]
        found = problems(*options)
        assert len(found) == 1
        assert "model.localizer: 'twice' needs model.codec to be relative_text, got 'seconds_text'" in found[0]
        assert "unknown key" in problems(*options, "model.localizer.time=3")[0]
        import_modules({"imports": ["my_parts"]})
        with pytest.raises(ConfigError, match=r"imports\.0"):
            import_modules({"imports": ["my_other_parts"]})
    finally:
        registry.localizers._entries.pop("twice", None)
        sys.modules.pop("my_parts", None)


def test_missing_optional_package_is_a_problem_of_its_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(registry.encoders).get

    def get(kind: Any, name: str, where: str | None = None) -> Any:
        if name == "timm_vit":
            raise ModuleNotFoundError("No module named 'timm'", name="timm")
        return real(kind, name, where)

    monkeypatch.setattr(type(registry.encoders), "get", get)
    found = problems("model.encoder={name: timm_vit, model: vit_tiny}", "model.codec.stile=x")
    assert len(found) == 2
    assert (
        "encoder 'timm_vit' cannot be imported: No module named 'timm'; install the package that provides" in found[0]
    )
    assert "model.codec.stile" in found[1]


# ------------------------------------------------------------------ dataclasses


@pytest.mark.parametrize("section", [RunConfig, GenerationConfig, LoraConfig, MonitorConfig])
def test_defaults_are_valid(section: Any) -> None:
    assert bind_dataclass(section, {}) == section()
    assert bind_dataclass(section, None) == section()


def test_bound_values_have_the_declared_form() -> None:
    run = bind_dataclass(RunConfig, {"betas": [0.9, 1 / 3], "learning_rate": 1, "monitor": {"mode": "min"}})
    assert run.betas == (0.9, 1 / 3)
    assert isinstance(run.learning_rate, float)
    assert run.monitor == MonitorConfig(mode="min")
    assert {f.name for f in fields(run)} >= {"output_dir", "seed", "train_splits"}


def test_binding_refuses_with_every_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        bind_dataclass(RunConfig, {"epoch": 3, "seed": "x", "monitor": {"mode": "most"}}, "run")
    text = str(caught.value)
    assert "run.epoch: unknown key of RunConfig. Did you mean 'epochs'?" in text
    assert "run.seed: must be a whole number" in text
    assert "run.monitor.mode: must be one of max, min, got 'most'" in text
    with pytest.raises(ConfigError, match="must be a mapping"):
        bind_dataclass(RunConfig, [1], "run")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (RunConfig, {"epochs": -1}), (RunConfig, {"learning_rate": 0}), (RunConfig, {"clip_grad_norm": 0}),
        (RunConfig, {"betas": [1.0, 0.9]}), (RunConfig, {"device": "cuda:x"}), (RunConfig, {"threads": 0}),
        (RunConfig, {"lr_groups": {"a": -1}}), (RunConfig, {"eps": 0}), (LoraConfig, {"alpha": 0}),
        (LoraConfig, {"dropout": 1}), (LoraConfig, {"targets": []}), (GenerationConfig, {"max_new_tokens": 0}),
        (GenerationConfig, {"repetition_penalty": 0}), (GenerationConfig, {"min_length": -1}),
    ],
)  # fmt: skip
def test_ranges(section: Any, values: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"must|empty"):
        bind_dataclass(section, values)


# -------------------------------------------------------------------- signatures


@dataclass
class Inner:
    size: int
    kind: Literal["a", "b"] = "a"


class Sample:
    def __init__(
        self,
        whole: int,
        number: float = 1.0,
        maybe: str | None = None,
        inner: Inner | None = None,
        names: Sequence[str] = (),
        pair: tuple[int, int] = (1, 2),
        by_name: Mapping[str, float] | None = None,
        path: Path | None = None,
        either: int | list[int] = 0,
        anything: Any = None,
    ) -> None: ...


def faults(**values: Any) -> list[str]:
    binder = Binder()
    binder.keys(values, parameters(Sample), ("s",), "Sample")
    return [str(problem) for problem in binder.problems]


@pytest.mark.parametrize(
    "values",
    [
        {}, {"number": 3}, {"maybe": None}, {"maybe": "x"}, {"inner": {"size": 1, "kind": "b"}}, {"names": ["a"]},
        {"pair": [1, 2]}, {"by_name": {"a": 1}}, {"path": "a/b"}, {"either": 3}, {"either": [3]}, {"anything": [{}]},
    ],
)  # fmt: skip
def test_fitting_values(values: dict[str, Any]) -> None:
    assert faults(whole=1, **values) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"whole": True}, "s.whole: must be a whole number, got True"),
        ({"number": "1"}, "s.number: must be a number, got '1'"),
        ({"maybe": 3}, "s.maybe: must be text or null, got 3"),
        ({"inner": 3}, "s.inner: must be settings of an Inner or null, got 3"),
        ({"inner": {}}, "s.inner: Inner needs the key 'size' (a whole number)"),
        ({"inner": {"size": 1, "kind": "c"}}, "s.inner.kind: must be one of a, b, got 'c'"),
        ({"names": "a"}, "s.names: must be a list of text, got 'a'"),
        ({"names": [1]}, "s.names.0: must be text, got 1"),
        ({"pair": [1]}, "s.pair: must be a list of 2 values, got 1 values"),
        ({"by_name": {"a": "x"}}, "s.by_name.a: must be a number, got 'x'"),
        ({"either": ["x"]}, "s.either.0: must be a whole number, got 'x'"),
        ({"either": None}, "s.either: must be a whole number or a list of whole numbers, got null"),
        ({"numbr": 1}, "s.numbr: unknown key of Sample. Did you mean 'number'?"),
    ],
)
def test_values_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    found = faults(**{"whole": 1, **values})
    assert len(found) == 1
    assert message in found[0]


def test_missing_key() -> None:
    assert faults() == ["s: Sample needs the key 'whole' (a whole number)"]


def test_types_in_words() -> None:
    assert describe(float | None) == "a number or null"
    assert describe(dict[str, int]) == "a mapping to whole numbers"
    assert describe(list[Path]) == "a list of paths"


# ------------------------------------------------------------ every registered entry

ENTRIES = [(kind, name) for kind, table in registry.kinds().items() for name in table.names()]


@pytest.mark.parametrize(("kind", "name"), ENTRIES, ids=[f"{kind}-{name}" for kind, name in ENTRIES])
def test_every_entry_can_be_configured(kind: str, name: str) -> None:
    """Every parameter is typed, and is either wired by the builder or of a type YAML can express."""
    entry = registry.kinds()[kind].get(name)
    assert (entry.__doc__ or "").strip(), "an entry says what it is"
    known = parameters(entry)
    wiring = getattr(entry, "wiring", ())
    assert set(wiring) <= set(known)
    for key, parameter in known.items():
        if key in wiring or kind == "processors":
            continue
        assert "cannot be set" not in str(faults_of(key, parameter.hint)), f"{key} has no type YAML can express"


def faults_of(key: str, hint: Any) -> list[str]:
    binder = Binder()
    binder.value({}, hint, (key,))
    return [str(problem) for problem in binder.problems]
