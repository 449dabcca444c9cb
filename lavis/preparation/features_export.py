"""Entries of a feature store in few files, and back: to copy, to keep, or to read with other tools.

``safetensors``: files with the tensors ``<entry>/<tensor>``. ``webdataset``: tar shards whose members
``<entry>.safetensors`` are the store's own files. An index tells of each entry its video, the key of its
frames and its file. Entries keep the names by which the run-time cache finds them, so those that are unpacked again are
found like new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lavis.common.feature_folder import FeatureFolder
from lavis.common.io import read_json, write_bytes, write_json
from lavis.common.tar_shards import ShardError, file_digest, read_index, read_member, write_shard

Form = Literal["safetensors", "webdataset"]
FORMS: tuple[Form, ...] = ("safetensors", "webdataset")
FORMAT = "lavis-feature-shards-1"


def export_features(
    store: FeatureFolder,
    entries: Mapping[str, Mapping[str, Any]],
    out: str | Path,
    form: Form,
    *,
    name: str = "features",
    per_file: int = 1000,
) -> Path:
    """Copies entries into files of ``per_file``; each is written whole or not at all.

    Args:
        store: holds them.
        entries: name to what is said of it in the index, as ``Extracted.entries``.
        out: folder of the files.
        form: ``safetensors`` or ``webdataset``.
        name: beginning of the files' names; parts of a job take different ones.
        per_file: entries in a file.

    Returns:
        the index of these files, ``<name>.json``.

    Raises:
        ValueError: for another form, or an entry that the store no longer holds.
        WriteError: if something cannot be written.
    """
    if form not in FORMS or per_file < 1:
        raise ValueError(
            f"the form is one of {', '.join(FORMS)} with at least 1 entry a file, got {form!r}, {per_file}"
        )
    folder = Path(out).expanduser()
    names = sorted(entries)
    rows: dict[str, dict[str, Any]] = {}
    files: list[dict[str, Any]] = []
    suffix = "safetensors" if form == "safetensors" else "tar"
    for number, chunk in enumerate(_chunks(names, per_file)):
        path = folder / f"{name}-{number:06d}.{suffix}"
        if form == "safetensors":
            _write_safetensors(path, store, chunk)
        else:
            write_shard(path, ((entry, {"safetensors": _file(store, entry)}, dict(entries[entry])) for entry in chunk))
        rows.update({entry: {**entries[entry], "file": path.name} for entry in chunk})
        files.append(
            {"file": path.name, "entries": len(chunk), "bytes": path.stat().st_size, "digest": file_digest(path)}
        )
    return write_json(folder / f"{name}.json", {"format": FORMAT, "form": form, "files": files, "entries": rows})


def import_features(index: str | Path, store: FeatureFolder) -> int:
    """Puts exported entries back into a store.

    Args:
        index: what ``export_features`` gave.
        store: entries it holds stay.

    Returns:
        how many there are.

    Raises:
        ShardError: if a file is missing or damaged; names it.
        ValueError: if the index is of another form.
    """
    path = Path(index).expanduser()
    found = read_json(path)
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        raise ValueError(f"{path} is no index of exported features; extract_features.py writes one beside them")
    for row in found["files"]:
        file = path.parent / Path(row["file"]).name
        if not file.is_file() or file_digest(file) != row["digest"]:
            raise ShardError(file, "is missing or damaged: its digest is not that of the index. Copy it anew")
        for entry, tensors in _read(file, found["form"]):
            store.write(entry, tensors)
    return len(found["entries"])


def _chunks(names: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while chunk := list(islice(rest, size)):
        yield chunk


def _file(store: FeatureFolder, entry: str) -> bytes:
    _tensors(store, entry)  # checks its sum, and drops a spoilt one
    return store.path(entry).read_bytes()


def _tensors(store: FeatureFolder, entry: str) -> dict[str, Tensor]:
    tensors = store.read(entry)
    if tensors is None:
        raise ValueError(
            f"{store.folder} no longer holds the entry {entry}; extract again, with more model.cache.disk_gb"
        )
    return tensors


def _write_safetensors(path: Path, store: FeatureFolder, names: Sequence[str]) -> None:
    from safetensors.torch import save

    whole = {f"{entry}/{key}": tensor for entry in names for key, tensor in _tensors(store, entry).items()}
    write_bytes(path, save(whole, {"format": FORMAT}))


def _read(file: Path, form: Form) -> Iterator[tuple[str, dict[str, Tensor]]]:
    from safetensors import safe_open
    from safetensors.torch import load

    if form == "webdataset":
        for row in read_index(file)[1]:
            yield row.key, load(read_member(file, row.members["safetensors"]))
        return
    with safe_open(str(file), framework="pt") as opened:
        keys: dict[str, list[str]] = {}
        for key in opened.keys():  # noqa: SIM118  # no mapping
            keys.setdefault(key.partition("/")[0], []).append(key)
        for entry, own in keys.items():
            yield entry, {key.partition("/")[2]: opened.get_tensor(key) for key in own}
