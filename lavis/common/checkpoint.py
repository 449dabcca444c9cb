"""Weights on disk: trainable weights with the configuration they belong to, written at once or not at all, read
strictly.

Own files are safetensors whose metadata holds the resolved configuration and where frozen weights came from. Files of
others may also be torch archives; they are read without running code. A name, shape or file that does not fit is an
error that says so, where LAVIS and the systems built on it load with ``strict=False`` and only log.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import json
import os
import pickle
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lavis.common.io import explained, sync_folder

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
_STATE_KEYS = ("model", "state_dict", "module", "model_state_dict")
_INDEX = ".index.json"
_FOLDERS = (
    ("model.safetensors.index.json",),
    ("pytorch_model.bin.index.json",),
    ("model.safetensors",),
    ("adapter_model.safetensors", "pytorch_model.safetensors"),
    ("adapter_model.bin", "pytorch_model.safetensors"),
    ("pytorch_model.bin",),
    ("checkpoints/best.safetensors",),
)
"""Files that make up a folder of weights, the last one that of a run; the first group of which one is there is read."""
ADAPTER_CONFIG = "adapter_config"
"""Key of a checkpoint's metadata: how its adapters were set, as peft writes it beside them."""
_SHOWN = 10
_CODE = re.compile(r"(?:GLOBAL|class|function) ([A-Za-z_]\w*\.[\w.]*\w)")


class CheckpointError(ValueError):
    """A weights file that is missing, torn, unsafe, or made for another model."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Contents of a weights file: ``state`` (on the CPU), ``metadata`` (text by name) and the ``path`` it came from."""

    state: dict[str, Tensor]
    metadata: dict[str, str]
    path: Path

    @property
    def config(self) -> dict[str, Any] | None:
        """The resolved configuration saved with the weights, if there is one."""
        text = self.metadata.get("config")
        return None if text is None else json.loads(text)


@dataclass(slots=True)
class LoadReport:
    """What fitted when weights were loaded."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    def problems(self, model_names: Collection[str], file_names: Collection[str]) -> str:
        """The faults in words, with the ten nearest names for the first of each sort; empty if there are none."""
        lines = []
        if self.mismatched:
            rows = [f"{name}: file {list(a)}, model {list(b)}" for name, (a, b) in self.mismatched.items()]
            lines.append(_listing("of another shape", rows))
        if self.missing:
            lines.append(_listing("needed by the model but not in the file", self.missing))
            lines.append(_nearest(self.missing[0], file_names, "in the file"))
        if self.unexpected:
            lines.append(_listing("in the file but unknown to the model", self.unexpected))
            lines.append(_nearest(self.unexpected[0], model_names, "in the model"))
        return "\n".join(line for line in lines if line)


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights that training changes: trainable parameters, and persistent buffers beside them (running statistics)."""
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for path, module in model.named_modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            prefix = f"{path}." if path else ""
            names |= {prefix + name for name, _ in module.named_buffers(recurse=False)}
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name in names}


def save_checkpoint(
    path: Path | str,
    state: Mapping[str, Tensor],
    *,
    config: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Writes safetensors; an interruption leaves the earlier file, never half a new one.

    Args:
        path: file to write, ending in ``.safetensors``.
        state: tensors by name; shared memory is allowed and written once a name.
        config: resolved configuration, kept as JSON.
        metadata: further facts; values that are no text are kept as JSON.

    Raises:
        CheckpointError: for another ending.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"weights are saved as .safetensors, got {path}")
    from safetensors.torch import save_file

    facts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in (metadata or {}).items()}
    facts["format"] = "pt"
    if config is not None:
        facts["config"] = json.dumps(config)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.numel() and tensor.untyped_storage().data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())

    def write(temporary: Path) -> None:
        save_file(tensors, temporary, metadata=facts)
        _sort_metadata(temporary)

    write_atomically(path, write)
    return path


def _sort_metadata(path: Path) -> None:
    """Puts the metadata of a safetensors file in order, in place: the library's own order differs with every process,
    and the same weights should be the same bytes.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "a header in another order is as long"
        file.seek(8)
        file.write(text.ljust(length))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a temporary path beside ``path``, makes it durable and moves it into place.

    Raises:
        WriteError: if the disk is full or may not be written to; the old file is as it was.
    """
    from safetensors import SafetensorError

    # On a full disk torch raises RuntimeError and safetensors an error of its own.
    with explained(path, RuntimeError, SafetensorError):
        _write_and_move(path, write)


def _write_and_move(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def save_archive(path: Path, content: Any) -> None:
    """Writes a torch archive at once or not at all; the same content gives the same bytes.

    Args:
        path: file to write.
        content: tensors and plain values, as ``load_archive`` reads them.
    """

    def write(temporary: Path) -> None:
        # Given a path, torch would put the temporary file's name into the archive.
        with temporary.open("wb") as file:
            torch.save(content, file)

    write_atomically(path, write)


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Reads ``.safetensors``, or ``.pth``, ``.pt``, ``.bin`` and ``.ckpt`` archives that hold tensors and plain values.

    In an archive the weights may stand under ``model``, ``state_dict``, ``module`` or ``model_state_dict``, and in
    groups, whose names are put before theirs. A folder as transformers and peft save it is read as one: all parts of
    its index, or its model, adapter and what was trained beside the adapter.

    Raises:
        CheckpointError: if the file is missing, torn, would run code, or holds no tensors.
    """
    path = Path(path)
    if path.is_dir() or path.name.endswith(_INDEX):
        return _joined(path)
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}{_neighbours(path)}")
    if path.suffix == ".safetensors":
        checkpoint = _read_safetensors(path)
    elif path.suffix in _TORCH_SUFFIXES:
        checkpoint = Checkpoint(_tensors(load_archive(path), path), {}, path)
    else:
        raise CheckpointError(f"{path} is no weights file; known endings: .safetensors, {', '.join(_TORCH_SUFFIXES)}")
    beside = path.with_name("adapter_config.json")
    if path.stem == "adapter_model" and beside.is_file():
        checkpoint.metadata[ADAPTER_CONFIG] = beside.read_text("utf-8")
    return checkpoint


def load_archive(path: Path) -> Any:
    """A torch archive of tensors and plain values, on the CPU; code in it is refused, not run.

    Raises:
        CheckpointError: if the file is torn or asks for code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = _CODE.search(str(error))
        if named is None:
            raise CheckpointError(_torn(path, error)) from error
        raise CheckpointError(
            f"{path} was refused: besides tensors it holds Python objects that run code when read "
            f"({named.group(1)}). If you trust whoever made it, open it once in a safe place, keep only the tensors, "
            "and save those with torch.save or as safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise CheckpointError(_torn(path, error)) from error


def load_weights(
    model: nn.Module,
    source: Path | str | Checkpoint | Sequence[Path | str | Checkpoint],
    *,
    require: Literal["trainable", "all", "none"] = "trainable",
    ignore: Iterable[str] = (),
) -> LoadReport:
    """Copies weights into a model, in place; with several sources later ones win.

    Args:
        model: the model to fill.
        source: weights file or files, or what ``read_checkpoint`` gave.
        require: which of the model's weights must be found: those that are trained, all, or none.
        ignore: ``fnmatch`` patterns of names in the files that may be left out.

    Raises:
        CheckpointError: if a needed name is missing, a name is unknown, or a shape differs; the model is unchanged
        then.
    """
    sources = [source] if isinstance(source, (str, Path, Checkpoint)) else list(source)
    checkpoints = [item if isinstance(item, Checkpoint) else read_checkpoint(item) for item in sources]
    state = {name: tensor for checkpoint in checkpoints for name, tensor in checkpoint.state.items()}
    report = compare(model, state, require=require, ignore=ignore)
    problems = report.problems(model.state_dict().keys(), state.keys())
    if problems:
        files = ", ".join(str(checkpoint.path) for checkpoint in checkpoints)
        raise CheckpointError(f"{files} does not fit this model ({len(report.loaded)} weights do)\n{problems}")
    model.load_state_dict({name: state[name] for name in report.loaded}, strict=False)
    return report


def compare(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    require: Literal["trainable", "all", "none"] = "trainable",
    ignore: Iterable[str] = (),
) -> LoadReport:
    """What of ``state`` fits ``model``; changes nothing."""
    own = model.state_dict()
    patterns = list(ignore)
    report = LoadReport()
    for name, tensor in state.items():
        if name in own and own[name].shape == tensor.shape:
            report.loaded.append(name)
        elif name in own:
            report.mismatched[name] = (tuple(tensor.shape), tuple(own[name].shape))
        elif any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            report.ignored.append(name)
        else:
            report.unexpected.append(name)
    if require != "none":
        trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        needed = own.keys() if require == "all" else [name for name in own if name in trainable]
        report.missing = [name for name in needed if name not in state]
    return report


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _joined(path: Path) -> Checkpoint:
    """Everything of a folder, or of the files that an index names."""
    files = _parts(path) if path.is_file() else _files_of(path)
    state: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for file in files:
        part = read_checkpoint(file)
        state |= part.state
        metadata |= part.metadata
    return Checkpoint(state, metadata, path)


def _files_of(folder: Path) -> list[Path]:
    for group in _FOLDERS:
        files = [folder / name for name in group if (folder / name).is_file()]
        if files and files[0].name.endswith(_INDEX):
            return _parts(files[0])
        if files:
            return files
    raise CheckpointError(f"no weights at {folder}{_neighbours(folder / 'model.safetensors')}; name one of its files")


def _parts(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of weights ({error!r:.80}); copy it again") from error
    missing = [name for name in names if Path(name).name != name or not (index.parent / name).is_file()]
    if missing or not names:
        raise CheckpointError(f"{index} names {len(missing)} files that are not beside it: {', '.join(missing[:3])}")
    return [index.parent / name for name in names]


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, metadata, path)  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_torn(path, error)) from error


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not weights by name")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        groups = [(name, group) for name, group in content.items() if isinstance(group, Mapping)]
        pairs = ((f"{name}.{inner}", value) for name, group in groups for inner, value in group.items())
        state = {name: value for name, value in pairs if isinstance(value, Tensor)}
    if not state:
        keys = ", ".join(str(key) for key in list(content)[:_SHOWN]) or "nothing"
        raise CheckpointError(f"{path} holds no weights: at its top are {keys}; known places: {', '.join(_STATE_KEYS)}")
    return state


def _torn(path: Path, error: Exception) -> str:
    size = path.stat().st_size if path.exists() else 0
    reason = type(error).__name__ if isinstance(error, pickle.UnpicklingError) else str(error).split("\n")[0][:160]
    return (
        f"{path} ({size} bytes) cannot be read: it is cut off, damaged, or no weights file ({reason}). "
        "Copy it again, or remove it to start without it"
    )


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f": the folder {path.parent} does not exist"
    names = [p.name for p in sorted(path.parent.iterdir()) if p.suffix in (".safetensors", *_TORCH_SUFFIXES)]
    return f"; the folder has {', '.join(names[:_SHOWN]) or 'no weights'}"


def _listing(title: str, rows: Sequence[str]) -> str:
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"  {len(rows)} {title}: {'; '.join(rows[:_SHOWN])}{more}"


def _nearest(name: str, candidates: Collection[str], place: str) -> str:
    near = difflib.get_close_matches(name, list(candidates), n=_SHOWN, cutoff=0.5)
    return f"  nearest to {name} {place}: {', '.join(near)}" if near else ""
