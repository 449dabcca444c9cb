"""``lavis convert``: a published checkpoint becomes a safetensors file under our names.

Which names become which is a table in ``keymaps/``; the report says what was kept, what was dropped on purpose and what
the target model still lacks. The same tables let ``model.weights`` read published files directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.common.checkpoint import ADAPTER_CONFIG, CheckpointError, compare, read_checkpoint, save_checkpoint
from lavis.common.keymap import keymap_names, load_keymap, recognise


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What became of a file.

    Args:
        family: the key map that was used.
        kept: weights written.
        dropped: names left out on purpose.
        missing: trainable weights of the target model that the file does not hold.
        out: the file written.
    """

    family: str
    kept: int
    dropped: list[str]
    out: Path
    missing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.family}: {self.kept} weights written to {self.out}"]
        if self.dropped:
            lines.append(f"left out on purpose ({len(self.dropped)}): {', '.join(self.dropped[:10])}")
        if self.missing:
            lines.append(
                f"trainable weights of the model that the file lacks ({len(self.missing)}): "
                f"{', '.join(self.missing[:10])}"
            )
        return "\n".join(lines)


def convert(
    source: str | Path, out: str | Path, family: str | None = None, model: Mapping[str, Any] | None = None
) -> ConversionReport:
    """Renames the weights of a published file.

    Args:
        source: .pth, .pt, .bin or .safetensors; or a folder of them as transformers and peft save it.
        out: .safetensors file to write, or a folder for ``model.safetensors``.
        family: key map; by default recognised by the names in the file.
        model: ``model`` node of a configuration to check the result against, at its full size, without memory.

    Raises:
        CheckpointError: if the file cannot be read, its family is unknown, a name fits no row, or the result does not
            fit ``model``.
    """
    checkpoint = read_checkpoint(source)
    keymap = load_keymap(family) if family is not None else recognise(checkpoint.state)
    if keymap is None:
        raise CheckpointError(
            f"{source} is of no family we know by its names ({', '.join(list(checkpoint.state)[:5])}, ...); name "
            f"one with --family: {', '.join(keymap_names())}"
        )
    state, dropped = keymap.apply(checkpoint.state, str(source))
    missing: list[str] = []
    if model is not None:
        state, missing = _check(state, model, str(source))
    out = Path(out)
    target = out if out.suffix == ".safetensors" else out / "model.safetensors"
    facts = {key: text for key, text in checkpoint.metadata.items() if key == ADAPTER_CONFIG}
    save_checkpoint(target, state, metadata={**facts, "source": Path(source).name, "family": keymap.name})
    return ConversionReport(keymap.name, len(state), dropped, target, missing)


def _check(state: dict[str, Any], node: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[str]]:
    from lavis.models.build import adapt, build_model

    model = build_model(node, weights=False, device="meta")
    fitted = adapt(state, model)
    report = compare(model, fitted, require="trainable")
    missing, report.missing = report.missing, []
    problems = report.problems(model.state_dict().keys(), fitted.keys())
    if problems:
        raise CheckpointError(f"{source} does not fit the model ({len(report.loaded)} weights do)\n{problems}")
    return fitted, missing
