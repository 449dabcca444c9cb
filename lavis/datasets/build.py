"""From the ``datasets`` section of a configuration to datasets, and from their items to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.common.yaml_tree import ConfigError
from lavis.datasets.base import Item, MomentDataset, Processor
from lavis.structures import Batch


def build_dataset(
    name: str, node: Mapping[str, Any], split: str, processor: Processor, train: bool, where: str | None = None
) -> MomentDataset:
    """One split of one data set.

    Args:
        name: key of the node, given to every sample.
        node: ``{name: grounding, format: {...}, annotations: {...}, ...}``; the parts of a ``mixture`` are nodes too.
        split: such as ``val``.
        processor: decodes and transforms videos.
        train: whether items are for training.
        where: dotted key of the node, for messages; ``None``: ``datasets.<name>``.

    Raises:
        ValueError: if the node has no such split, a key or value does not fit, or the data do not.
    """
    where = where or f"datasets.{name}"
    fields = dict(node)
    if "parts" in fields:
        fields["parts"] = {
            key: build_dataset(key, part, split, processor, train, f"{where}.parts.{key}")
            for key, part in _mapping(fields["parts"], f"{where}.parts").items()
            if split in splits_of(part)
        }
        for key in ("weights", "sizes"):
            if isinstance(fields.get(key), Mapping):
                # Those of parts that lack this split go; those that name no part stay, to be refused.
                fields[key] = {k: w for k, w in fields[key].items() if k in fields["parts"] or k not in node["parts"]}
    if "format" in fields:
        fields["format"] = build_part(registry.formats, fields["format"], f"{where}.format")
    dataset = build_part(
        registry.datasets, fields, where, dataset_name=name, split=split, processor=processor, train=train
    )
    if not isinstance(dataset, MomentDataset):
        raise ConfigError(f"{where}.name: {node['name']!r} is no MomentDataset; derive it from lavis.datasets.base")
    return dataset


def splits_of(node: Mapping[str, Any]) -> list[str]:
    """Splits a data set's node has annotations for; of a mixture those of any part."""
    if "parts" in node:
        return list(dict.fromkeys(split for part in node["parts"].values() for split in splits_of(part)))
    return list(node.get("annotations", {}))


def collate(items: Sequence[Item | None]) -> Batch:
    """A batch of the items that could be read; those left out (``None``) are dropped, so it may be empty.

    Each sample keeps its frames in a list per view, as their numbers may differ.
    """
    present = [item for item in items if item is not None]
    names = list(present[0][1]) if present else []
    return Batch(
        samples=[sample for sample, _ in present],
        views={name: [views[name] for _, views in present] for name in names},
    )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must map names to datasets, got {type(value).__name__}")
    return value
