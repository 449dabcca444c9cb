from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lavis.common.registry import DuplicateEntryError, Registry, UnknownEntryError, registry


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    package = tmp_path / "sample_parts"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in ("alpha", "beta"):
        (package / f"{name}.py").write_text(
            f"from sample_table import table\n@table.register('{name}')\nclass {name.title()}:\n    pass\n"
        )
    (package / "broken.py").write_text("import a_package_nobody_has\n")
    (package / "base.py").write_text("raise AssertionError('never imported')\n")
    (package / "_private.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    table: Registry[object] = Registry("part", "sample_parts")
    holder = type(sys)("sample_table")
    holder.table = table  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sample_table", holder)
    yield table  # type: ignore[misc]
    for module in [m for m in sys.modules if m.startswith("sample_parts")]:
        del sys.modules[module]


def test_names_are_files_and_import_nothing(parts: Registry[object]) -> None:
    assert parts.names() == ["alpha", "beta", "broken"]
    assert "alpha" in parts
    assert "gamma" not in parts
    assert 3 not in parts
    assert list(parts) == parts.names()
    assert "sample_parts.alpha" not in sys.modules


def test_get_imports_only_what_is_asked(parts: Registry[object]) -> None:
    assert parts.get("beta").__name__ == "Beta"
    assert "sample_parts.beta" in sys.modules
    assert "sample_parts.alpha" not in sys.modules


def test_unknown_name_has_suggestion_and_place(parts: Registry[object]) -> None:
    with pytest.raises(UnknownEntryError) as caught:
        parts.get("alhpa", where="model.part in x.yaml")
    message = str(caught.value)
    assert "unknown part 'alhpa' (model.part in x.yaml)" in message
    assert "Did you mean 'alpha'?" in message
    assert "Known: alpha, beta, broken." in message


def test_import_error_of_an_entry_is_shown_unchanged(parts: Registry[object]) -> None:
    with pytest.raises(ModuleNotFoundError, match="a_package_nobody_has"):
        parts.get("broken")
    assert "broken" in parts.names()


def test_taken_names_are_refused(parts: Registry[object]) -> None:
    parts.get("alpha")
    with pytest.raises(DuplicateEntryError, match=r"'alpha' is registered already, by sample_parts\.alpha\.Alpha"):
        parts.register("alpha")(type("Other", (), {}))
    entry = parts.register("gamma")(type("Gamma", (), {}))
    assert parts.get("gamma") is entry
    parts.register("gamma")(entry)


def test_familiar_names_are_bound_methods() -> None:
    assert registry.register_model == registry.models.register
    assert registry.register_task == registry.tasks.register
    assert registry.register_processor == registry.processors.register


def test_kinds_lists_every_registry() -> None:
    kinds = registry.kinds()
    assert {"models", "encoders", "codecs", "tasks", "metrics", "samplers"} <= set(kinds)
    assert all(isinstance(kind, Registry) for kind in kinds.values())
