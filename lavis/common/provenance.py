"""What a result was computed with: digests of weights, of code, and of the precision and device in force.

Used to name what frozen networks have computed, so that it is found again by the same weights and code alone, in this
process and in any later one.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from lavis.common import distributed

FOLLOWED = ("lavis.layers", "lavis.processors")
"""Packages whose modules count as well where a module imports them; the rest of lavis computes no features."""

_WRAPPERS = re.compile(r"(_checkpoint_wrapped_module|_fsdp_wrapped_module|_orig_mod|module)\.")
_INCIDENTAL = re.compile(r"drop|checkpoint|training|^_is_|^_fsdp|^_compiled|^p$|^forward$")
"""Attributes that change nothing where there is no dropout: its rates, and whether activations are recomputed; and what
engines put in the place of methods."""


def digest(*parts: object) -> str:
    """32 hexadecimal digits for values whose ``repr`` says all about them."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


class TensorDigests:
    """Digests of the bytes of tensors, each computed once for as long as the tensor is not written to."""

    def __init__(self) -> None:
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def of(self, tensor: Tensor) -> str:
        """Type, shape and bytes of a tensor. One that is sharded is gathered: all ranks must ask."""
        stamp = stamp_of(tensor)
        known = self._known[tensor] if tensor in self._known else None  # noqa: SIM401  # get() is untyped there
        if known is None or known.stamp != stamp:
            storage = None if _scattered(tensor) else tensor.untyped_storage()
            found = _bytes_digest(distributed.whole(tensor))
            known = self._known[tensor] = _Known(stamp, found, _sum(tensor), storage)
        return str(known.digest)

    def forget_learning(self) -> None:
        """Reads tensors that learn anew: some optimizers write to them in ways that leave no trace."""
        for tensor in [t for t in self._known if t.requires_grad]:
            del self._known[tensor]

    def forget_changed(self) -> None:
        """Reads tensors anew whose sum is another one, though nobody was seen to write to them."""
        # Parts of sharded ones are left: a process that alone found a change would wait for the others.
        for tensor in [t for t in self._known if self._known[t].sum != _sum(t)]:
            del self._known[tensor]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a tensor. Its storage is held so that no other one can be where it was."""

    stamp: tuple[int, int, torch.dtype, int]
    digest: str
    sum: float | None
    storage: torch.UntypedStorage | None


def stamp_of(tensor: Tensor) -> tuple[int, int, torch.dtype, int]:
    """Changes when a tensor is replaced, converted, written to, or given other memory (``.data = ...``).

    What is written through ``.data`` leaves no trace. Where the bytes lie does not count: weights that are gathered
    for every step keep their storage object, which is emptied and filled.
    """
    place = 0 if _scattered(tensor) else tensor.untyped_storage()._cdata
    return id(tensor), tensor._version, tensor.dtype, place


def _scattered(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local") or hasattr(tensor, "ds_id")


def _sum(tensor: Tensor) -> float | None:
    if _scattered(tensor) or tensor.is_meta:
        return None
    kind = torch.float64 if tensor.is_floating_point() else torch.int64
    return float(tensor.detach().sum(dtype=kind))


def _bytes_digest(tensor: Tensor) -> str:
    # A copy, since memory that numpy has seen can no longer be freed by FSDP2, which resizes the tensor it gathered.
    flat = tensor.detach().cpu().contiguous().clone().reshape(-1).view(torch.uint8)
    found = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    found.update(flat.numpy().data)
    return found.hexdigest()


def clean_name(name: str) -> str:
    """The name of a tensor or module without those of wrappers around it."""
    return _WRAPPERS.sub("", f"{name}.").rstrip(".")


def structure(module: nn.Module, without: re.Pattern[str] | None = None) -> str:
    """What a network does beside its tensors: its classes and their settings (heads, eps, activation functions).

    Args:
        module: the network.
        without: beginnings of names of submodules that take no part.
    """
    rows = []
    for name, part in module.named_modules():
        if "Drop" in type(part).__name__ or (without is not None and without.match(f"{name}.")):
            continue
        told = {key: _told(value) for key, value in vars(part).items() if not _INCIDENTAL.search(key)}
        settings = sorted((key, value) for key, value in told.items() if value is not None)
        compiled = getattr(part, "_compiled_call_impl", None) is not None
        rows.append((clean_name(name), type(part).__qualname__, settings, compiled))
    return digest(rows)


def _told(value: object) -> str | None:
    """A setting as text that is the same in every process; ``None`` for what is none (tensors, modules, hooks)."""
    if isinstance(value, (bool, int, float, str, torch.dtype)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return repr([_told(item) for item in value])
    if isinstance(value, partial):
        named = sorted((key, _told(given)) for key, given in value.keywords.items())
        return repr((_told(value.func), _told(value.args), named))
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        return f"{value.__module__}.{value.__qualname__}"
    return None


def chance_in(module: nn.Module) -> str | None:
    """The first part of a network that draws random numbers in its present mode, or depends on the batch."""
    for name, part in module.named_modules():
        if not part.training:
            continue
        rates = [getattr(part, key, 0) for key in ("dropout_rate", "drop_prob", "rate")]
        if isinstance(part, nn.modules.dropout._DropoutNd):
            rates.append(part.p)
        random = any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)
        if random or isinstance(part, nn.modules.batchnorm._BatchNorm):
            return clean_name(name) or type(part).__name__
    return None


def arithmetic(device: torch.device) -> str:
    """What decides the last bits of a result: device, autocast and the settings of the libraries below."""
    kind = device.type
    autocast = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "off"
    if kind == "cuda":
        unit = f"{torch.cuda.get_device_name(device)} tf32={torch.backends.cudnn.allow_tf32}"
    else:
        unit = f"{torch.backends.cpu.get_cpu_capability()} threads={torch.get_num_threads()}"
    backends = torch.backends.cuda
    kernels = ("flash", "mem_efficient", "math", "cudnn")
    attention = [bool(getattr(backends, f"{kernel}_sdp_enabled", bool)()) for kernel in kernels]
    fixed = torch.are_deterministic_algorithms_enabled()
    return (
        f"{kind} {unit} autocast={autocast} matmul={torch.get_float32_matmul_precision()} attention={attention} "
        f"deterministic={fixed}"
    )


@cache
def code_version(modules: tuple[str, ...]) -> str:
    """Digest of the source of modules, of those of ``FOLLOWED`` they import, and the versions of other packages.

    Args:
        modules: dotted names.
    """
    sources: dict[str, str] = {}
    packages: dict[str, str] = {"torch": torch.__version__}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        text = _source(name)
        sources[name] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        for imported in _imports(text):
            if imported.startswith(FOLLOWED):
                waiting.append(imported)
            elif (top := imported.partition(".")[0]) not in sys.stdlib_module_names and top != "lavis":
                packages[top] = _version(top)
    return digest(sorted(sources.items()), sorted(packages.items()))


def modules_of(parts: Iterable[object]) -> tuple[str, ...]:
    """Modules that define the classes of these objects; of a network those of all of its submodules."""
    names: set[str] = set()
    for part in parts:
        inner: Sequence[object] = list(part.modules()) if isinstance(part, nn.Module) else [part]
        for one in inner:
            names.update(modules_of_class(type(one)))
    return tuple(sorted(names))


def modules_of_class(kind: type) -> tuple[str, ...]:
    """Modules that define a class and those it inherits from."""
    names = {base.__module__ for base in kind.__mro__[:-1]}
    # Of foreign packages the version counts, not every file.
    return tuple(sorted(name for name in names if name.partition(".")[0] not in ("torch", "builtins", "abc", "typing")))


def _source(name: str) -> str:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None:
        spec = importlib.util.find_spec(name)
        file = spec.origin if spec is not None else None
    if file is None or not file.endswith(".py") or not Path(file).is_file():
        return _version(name.partition(".")[0])
    return Path(file).read_text(encoding="utf-8")


def _imports(text: str) -> list[str]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []  # what stands for the source of a module without one
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        names = _distributions().get(package)  # PIL is that of pillow, imported or not
        if names:
            return ", ".join(importlib.metadata.version(name) for name in sorted(set(names)))
        return str(getattr(sys.modules.get(package), "__version__", "unknown"))


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    return importlib.metadata.packages_distributions()
