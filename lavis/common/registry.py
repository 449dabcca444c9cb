"""The central registry: one table per kind of part; an entry's name is the name of the file that holds it.

``registry.codecs.get("seconds_text")`` imports ``lavis/models/codecs/seconds_text.py`` and nothing else. The list of
names is the directory listing, so it is instant and survives a missing optional package; asking for such an entry shows
the package's own import error. Small kinds share one file each, which is imported whole.

Source: the registry of LAVIS (Li et al., 2022; salesforce/LAVIS), whose four nouns and decorator names stay; unlike it,
unknown names fail at once with a suggestion, and taken names are refused.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])


class UnknownEntryError(ValueError):
    """A name that is not registered; the message has the nearest names and all known ones."""


class DuplicateEntryError(ValueError):
    """A name that is registered already."""


class Registry(Generic[T]):
    """Names to classes of one kind.

    Args:
        kind: singular noun for messages, such as ``codec``.
        location: package whose modules are the entries (``lavis.models.codecs``), or module that holds them all.
        one_file: whether ``location`` is a single module, or a room that imports all of its files.
        skip: module names in the package that are no entries.
    """

    def __init__(self, kind: str, location: str, *, one_file: bool = False, skip: Iterable[str] = ("base",)) -> None:
        self.kind = kind
        self.location = location
        self.one_file = one_file
        self._skip = frozenset(skip)
        self._entries: dict[str, type[T]] = {}
        self._file_names: list[str] | None = None

    def register(self, name: str) -> Callable[[C], C]:
        """Decorator that registers a class (or factory) under ``name``.

        Raises:
            DuplicateEntryError: if the name is taken by another class.
        """

        def decorate(entry: C) -> C:
            known = self._entries.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (entry.__module__, entry.__qualname__):
                raise DuplicateEntryError(
                    f"{self.kind} {name!r} is registered already, by {known.__module__}.{known.__qualname__}; "
                    "choose another name"
                )
            self._entries[name] = entry  # type: ignore[assignment]
            return entry

        return decorate

    def get(self, name: str, where: str | None = None) -> type[T]:
        """The entry called ``name``.

        Args:
            name: registered name.
            where: configuration key and file, for the message.

        Raises:
            UnknownEntryError: if there is none.
        """
        if name not in self._entries:
            if self.one_file:
                importlib.import_module(self.location)
            elif name in self._files():
                importlib.import_module(f"{self.location}.{name}")
        if name not in self._entries:
            raise UnknownEntryError(self._unknown(name, where))
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted; lists a directory, imports nothing heavy."""
        if self.one_file:
            importlib.import_module(self.location)
            return sorted(self._entries)
        return sorted({*self._files(), *self._entries})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _files(self) -> list[str]:
        if self._file_names is None:
            package = importlib.import_module(self.location)
            self._file_names = [
                module.name
                for module in pkgutil.iter_modules(package.__path__)
                if not module.ispkg and not module.name.startswith("_") and module.name not in self._skip
            ]
        return self._file_names

    def _unknown(self, name: str, where: str | None) -> str:
        near = difflib.get_close_matches(name, self.names(), n=1, cutoff=0.5)
        place = f" ({where})" if where else ""
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"unknown {self.kind} {name!r}{place}.{hint} Known: {', '.join(self.names()) or 'none'}."


class RegistryNamespace:
    """All registries; the familiar ``register_model`` and its kin are their bound methods."""

    def __init__(self) -> None:
        no_models = ("base", "build", "feature_cache", "keyframes", "one_video")
        self.models: Registry[Any] = Registry("model", "lavis.models", skip=no_models)
        self.encoders: Registry[Any] = Registry("encoder", "lavis.models.encoders")
        self.compressors: Registry[Any] = Registry("compressor", "lavis.models.compressors")
        self.prompts: Registry[Any] = Registry("prompt", "lavis.models.prompts", skip=("base", "subtitle_choice"))
        self.language_models: Registry[Any] = Registry("language model", "lavis.models.language_models")
        self.codecs: Registry[Any] = Registry("codec", "lavis.models.codecs")
        self.heads: Registry[Any] = Registry("head", "lavis.models.heads")
        self.localizers: Registry[Any] = Registry("localizer", "lavis.models.localizers")
        self.processors: Registry[Any] = Registry("processor", "lavis.processors.registered", one_file=True)
        self.samplers: Registry[Any] = Registry("sampler", "lavis.processors.samplers", one_file=True)
        self.transforms: Registry[Any] = Registry("transform", "lavis.processors.transforms", one_file=True)
        self.readers: Registry[Any] = Registry("video reader", "lavis.processors.readers")
        self.formats: Registry[Any] = Registry("annotation format", "lavis.datasets.formats")
        self.datasets: Registry[Any] = Registry("dataset", "lavis.datasets", skip=("base", "build", "prior"))
        self.protocols: Registry[Any] = Registry("scoring protocol", "lavis.scoring.protocols")
        self.judges: Registry[Any] = Registry("judge", "lavis.scoring.judges")
        self.tasks: Registry[Any] = Registry("task", "lavis.tasks")
        self.metrics: Registry[Any] = Registry("metric", "lavis.metrics")
        self.schedules: Registry[Any] = Registry("schedule", "lavis.runners.schedules", one_file=True)
        self.hooks: Registry[Any] = Registry("hook", "lavis.runners.hooks")
        self.generators: Registry[Any] = Registry("sample generator", "lavis.preparation.generators")
        self.register_model = self.models.register
        self.register_task = self.tasks.register
        self.register_processor = self.processors.register
        self.register_builder = self.datasets.register
        self.register_lr_scheduler = self.schedules.register

    def kinds(self) -> dict[str, Registry[Any]]:
        """Kind names (``codecs``) to registries."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Registry)}


registry = RegistryNamespace()
