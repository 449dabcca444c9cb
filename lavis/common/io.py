"""Files of text and JSON that are whole or absent: atomic writing, errors that name the place, and JSON lines that
survive a crash in mid-line.

A reader never sees half a file: text is written beside its destination and renamed. JSON lines grow by whole rows, so
the most a crash can leave is one torn line at the end, which ``append_jsonl`` and ``recover_jsonl`` cut off.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike[str]


class FileFormatError(ValueError):
    """A file that cannot be read as what it should be; the message names file, line and column."""


class WriteError(OSError):
    """A file that cannot be written, such as on a full disk; the message names file, reason, free space and cure."""


@contextmanager
def explained(path: PathLike, *others: type[Exception]) -> Iterator[None]:
    """Makes a ``WriteError`` of what goes wrong while ``path`` is written.

    Args:
        path: the file or folder written to.
        others: what libraries raise in place of ``OSError``.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except WriteError:
        raise
    except kinds as error:
        problem = WriteError(f"cannot write {path}: {_reason(error)}{_space(Path(path))}")
        problem.errno = getattr(error, "errno", None)
        raise problem from error


def sync_folder(folder: PathLike) -> None:
    """Makes the names in ``folder`` durable, so that a rename outlives a power cut, where the system can do so."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: PathLike, data: bytes) -> Path:
    """Writes ``data`` to ``path`` in one step, making missing folders; a crash leaves the old file.

    Returns:
        The path written.

    Raises:
        WriteError: if the disk is full or may not be written to; the old file is as it was.
    """
    target = Path(path)
    with explained(target):
        _replace(target, data)
    return target


def _replace(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; results are meant to be shared as the umask allows.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: PathLike, text: str) -> Path:
    """Writes ``text`` as UTF-8 in one step; see ``write_bytes``."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: PathLike, value: Any, indent: int | None = 2) -> Path:
    """Writes ``value`` as JSON in one step.

    Numbers that are not finite become ``null``, since JSON has no word for them; tuples, paths and zero-dimensional
    arrays become their plain forms.

    Raises:
        ValueError: for a value that has no JSON form; the message names its place.
    """
    return write_bytes(path, _encoded(json.dumps(to_plain(value), indent=indent, ensure_ascii=False) + "\n"))


def write_jsonl(path: PathLike, rows: Iterable[Any]) -> Path:
    """Writes one JSON value a line, all in one step."""
    return write_bytes(path, b"".join(_line(row) for row in rows))


def append_jsonl(path: PathLike, rows: Iterable[Any]) -> Path:
    """Adds rows at the end of a JSON lines file, making it if it is absent; a torn last line is cut off first.

    Raises:
        WriteError: if the disk is full or may not be written to; then none of the rows is in the file.
    """
    target = Path(path)
    data = b"".join(_line(row) for row in rows)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        recover_jsonl(target)
        with target.open("ab", buffering=0) as stream:
            end = stream.seek(0, os.SEEK_END)
            try:
                _write_all(stream, data)
            except OSError:
                stream.truncate(end)  # part of the rows would come twice when they are written again
                raise
    return target


def _write_all(stream: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def recover_jsonl(path: PathLike) -> int:
    """Cuts a torn last line off a JSON lines file.

    A last line without a line end that is valid JSON is kept and completed: files of other tools may end so.

    Returns:
        Number of bytes cut, 0 where the file is whole, empty or absent.
    """
    target = Path(path)
    if not target.exists() or target.stat().st_size == 0:
        return 0
    with target.open("rb+") as stream:
        start, tail = _tail(stream)
        if not tail:
            return 0
        try:
            json.loads(tail.decode("utf-8"))
        except ValueError:
            stream.truncate(start)
            return len(tail)
        stream.seek(0, os.SEEK_END)
        stream.write(b"\n")
    return 0


def read_text(path: PathLike) -> str:
    """The text of a UTF-8 file.

    Raises:
        FileFormatError: if the bytes are not UTF-8.
        FileNotFoundError: if it is absent.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: not UTF-8 text (byte {error.start}); convert the file to UTF-8") from error


def read_json(path: PathLike) -> Any:
    """The value in a JSON file.

    Raises:
        FileFormatError: if it is not JSON; names file, line and column.
        FileNotFoundError: if it is absent.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FileFormatError(_json_problem(path, error.lineno, error.colno, error.msg, text)) from error
    except RecursionError as error:
        raise FileFormatError(f"{path}: JSON nested too deeply to read") from error


def read_jsonl(path: PathLike, *, drop_torn: bool = False) -> list[Any]:
    """The values of a JSON lines file; empty lines are passed over.

    Args:
        path: the file.
        drop_torn: leave out a last line that a crash cut short, rather than raise.

    Raises:
        FileFormatError: if a line is not JSON; names file, line and column.
        FileNotFoundError: if it is absent.
    """
    text = _read_lines_text(path, drop_torn)
    rows: list[Any] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if drop_torn and number == len(lines):
                break
            raise FileFormatError(_json_problem(path, number, error.colno, error.msg, line)) from error
    return rows


def to_plain(value: Any, where: str = "value") -> Any:
    """``value`` made of what JSON knows: mappings with string keys, lists, strings, finite numbers, booleans, ``None``.

    Raises:
        ValueError: for anything else; names its place.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [to_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if callable(getattr(value, "tolist", None)):  # arrays and tensors, without importing either library
        return to_plain(value.tolist(), where)
    raise ValueError(f"{where}: {type(value).__name__} has no JSON form; convert it to numbers, strings or lists")


def _line(row: Any) -> bytes:
    return _encoded(json.dumps(to_plain(row, "row"), ensure_ascii=False) + "\n")


def _encoded(text: str) -> bytes:
    # Half a character (a lone surrogate) has no UTF-8 form; written as \udXXX it is an escape of JSON.
    return text.encode("utf-8", errors="backslashreplace")


def _tail(stream: Any) -> tuple[int, bytes]:
    """Where the last line starts, and its bytes if it lacks a line end (``b""`` if it has one)."""
    end = stream.seek(0, os.SEEK_END)
    data, position = b"", end
    while position > 0:
        step = min(65536, position)
        position -= step
        stream.seek(position)
        data = stream.read(step) + data
        if data.endswith(b"\n"):
            return end, b""
        newline = data.rfind(b"\n")
        if newline >= 0:
            return position + newline + 1, data[newline + 1 :]
    return 0, data


def _read_lines_text(path: PathLike, drop_torn: bool) -> str:
    if not drop_torn:
        return read_text(path)
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        whole = data[: data.rfind(b"\n") + 1]
        if error.start < len(whole):
            raise FileFormatError(f"{path}: not UTF-8 text (byte {error.start})") from error
        return whole.decode("utf-8-sig")  # the crash fell inside a character of the last line


def _json_problem(path: PathLike, line: int, column: int, message: str, text: str) -> str:
    lines = text.splitlines()
    shown = lines[min(line, len(lines)) - 1] if lines else ""
    start = max(0, column - 40)
    return f"{path}, line {line}, column {column}: not JSON: {message}; near {shown[start : start + 80]!r}"


def _reason(error: Exception) -> str:
    """The system's own words; a library that lost them has them in what led to its error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return (getattr(cause, "strerror", None) or str(cause or error)).split("\n")[0]


def _space(path: Path) -> str:
    for folder in path.absolute().parents:
        with suppress(OSError):  # one that is not there, or may not be looked into
            return f" ({shutil.disk_usage(folder).free / 2**20:,.0f} MiB free on its disk)"
    return ""


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
