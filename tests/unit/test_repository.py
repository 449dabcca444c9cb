"""The repository as a newcomer finds it: nothing of one machine in it, links that lead somewhere, scripts that run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CACHES = {"__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis"}
IGNORED_FOLDERS = {".git", ".venv", "results", "build", "dist"} | CACHES

# Written in pieces, so that this file does not hold what it forbids.
OF_ONE_MACHINE = [
    *("/" + folder + "/" for folder in ("work", "farm", "root", "tmp")),
    *(".".join(parts) for parts in (("pypi", "org"), ("python" + "hosted",), ("npmjs", "org"), ("debian", "org"))),
    ".".join(("download", "pytorch")),
]

DISTRIBUTION_OF = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "yaml": "pyyaml",
    "faster_whisper": "faster-whisper",
}


def files() -> list[Path]:
    """Files that are, or would be, under version control."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        found = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
        return [path for path in found if path.is_file()]
    return [path for path in sorted(ROOT.rglob("*")) if path.is_file() and not IGNORED_FOLDERS & set(path.parts)]


def text_files() -> Iterator[tuple[Path, str]]:
    for path in files():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_nothing_belongs_to_one_machine() -> None:
    found = [
        f"{shown(path)}:{number}: {word}"
        for path, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        for word in OF_ONE_MACHINE
        if word in line
    ]
    assert not found, "these belong to one machine, not to the project:\n" + "\n".join(found)


def test_no_large_files() -> None:
    # The toy backbone ships, with the command and seed that make it.
    limits = {"lavis/assets/toy/backbone.safetensors": 20_000_000}
    sizes = {shown(path): path.stat().st_size for path in files()}
    large = [f"{name}: {size:,} bytes" for name, size in sizes.items() if size > limits.get(name, 1_000_000)]
    assert not large, "too large; generate or download instead:\n" + "\n".join(large)


def test_no_package_markers_below_tests() -> None:
    extra = [shown(path) for path in ROOT.glob("tests/*/**/__init__.py")]
    assert not extra, f"tests are found by path, only tests/__init__.py is needed: {extra}"


RUN_SCRIPTS = sorted(ROOT.glob("run_scripts/**/*.sh"))


SHELLS = {"#!/bin/sh": "sh", "#!/usr/bin/env bash": "bash"}


@pytest.mark.parametrize("script", RUN_SCRIPTS, ids=shown)
def test_run_script(script: Path) -> None:
    text = script.read_text()
    shell = SHELLS.get(text.partition("\n")[0])
    assert shell, f"{shown(script)} needs one of the first lines {', '.join(SHELLS)}"
    assert os.access(script, os.X_OK), f"{shown(script)} is not executable: chmod +x {shown(script)}"
    assert subprocess.run([shell, "-n", script], check=False).returncode == 0
    own_folder = text.replace('$(dirname "$0")', str(script.parent))
    absent = [name for name in re.findall(r"[\w./-]+\.py\b", own_folder) if not (ROOT / name).is_file()]
    assert not absent, f"{shown(script)} starts a file that does not exist: {absent}"
    configs = re.findall(r"--cfg-path[ =]([\w./-]+)", text)
    places = [(base / name).with_suffix(".yaml") for name in configs for base in (ROOT, ROOT / "configs")]
    assert sum(place.is_file() for place in places) == len(configs), (
        f"{shown(script)} names an absent config: {configs}"
    )


YAML_FILES = sorted(p for folder in ("configs", "lavis") for p in (ROOT / folder).rglob("*.yaml"))


@pytest.mark.parametrize("path", YAML_FILES, ids=shown)
def test_yaml_is_a_mapping_with_unique_keys(path: Path) -> None:
    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: Strict, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        assert not twice, f"{shown(path)} line {node.start_mark.line + 1} gives {', '.join(sorted(twice))} twice"
        return yaml.SafeLoader.construct_mapping(loader, node, deep)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    loaded = yaml.load(path.read_text(encoding="utf-8"), Strict)
    assert isinstance(loaded, dict), f"{shown(path)} is not a mapping"


DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", t)]
    broken = [t for t in targets if not (document.parent / t.partition("#")[0]).exists()]
    assert not broken, f"{shown(document)} links to what does not exist: {broken}"


def test_quirks_name_their_tests() -> None:
    """Each row of the ledger ends with the test that pins the behaviour; the file must exist, and hold the test."""
    problems = []
    for row in (ROOT / "docs" / "quirks.md").read_text(encoding="utf-8").splitlines():
        for path, _, name in re.findall(r"`(tests/[\w/]+\.py)(::(\w+))?`", row):
            if not (ROOT / path).is_file():
                problems.append(f"{path} does not exist")
            elif name and name not in (ROOT / path).read_text(encoding="utf-8"):
                problems.append(f"{path} has no {name}")
    assert not problems, "docs/quirks.md: " + "; ".join(sorted(set(problems)))


def declared() -> set[str]:
    """Distributions that setup.py declares, core and extras, in lower case."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    strings = [
        node.value
        for assignment in tree.body
        if isinstance(assignment, ast.Assign) and getattr(assignment.targets[0], "id", "") in ("CORE", "EXTRAS")
        for node in ast.walk(assignment.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return {match.group().lower() for s in strings if (match := re.match(r"[\w-]+", s))}


def test_every_import_is_declared() -> None:
    own = {"lavis", "tests", *sys.stdlib_module_names}
    packages = declared()
    missing = set()
    for path in (ROOT / "lavis").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for top in (name.partition(".")[0] for name in names):
                if top not in own and DISTRIBUTION_OF.get(top, top).lower() not in packages:
                    missing.add(f"{shown(path)}: {top}")
    assert not missing, "imported but not in setup.py:\n" + "\n".join(sorted(missing))


def test_importing_the_package_is_light() -> None:
    code = "import sys, lavis; print(sorted({'torch', 'transformers', 'numpy', 'av'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]", f"import lavis loads {result.stdout.strip()}"
