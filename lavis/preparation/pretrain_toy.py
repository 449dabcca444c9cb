"""Makes the toy backbone: tokenizers and pretrained weights small enough to ship, for the quickstart and for tests.

It stands for what full-size CALCE takes from EVA-CLIP, BLIP-2 and Flan-T5, in the project's own classes, at a few
million weights, in three phases:

``language``
    T5 reads stories told in words and answers when something happens (``toy_backbone/reading.py``), never in CALCE's
    form. Extra targets on the encoder (is this frame inside the window, does it have the colour asked for ...) shorten
    the plateau before attention finds out what to compare; their head is thrown away. Some heads start out comparing
    equal words or looking at neighbours, for the same reason.
``vision``
    The ViT and the Q-Former learn to name what single frames show (two classifiers and an image-text contrast, thrown
    away); the Q-Former's text half learns that a query and the line it quotes have a cosine similarity above
    0.9, all else below.
``alignment``
    BLIP-2's second stage: Q-Former and projection learn to caption frames through the frozen T5.

On one core of a machine with two, with bf16 products, the phases took 10, 17 and 2 minutes. The shipped weights are
what the first command below made, with torch 2.13; other processors round differently and come out near, not equal.

The backbone has therefore seen frames, words and questions, but no video and no moment retrieval. Nothing leaks from
the corpora made by ``synthetic_moments``: their scripts are seeded by the names of their splits (train, val,
test), and those used here by other names.

Examples:
    python -m lavis.preparation.pretrain_toy --out lavis/assets/toy --seed 0
    python -m lavis.preparation.pretrain_toy --out results/toy --work results/toy/work --phase vision
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lavis.preparation.toy_backbone.backbone import ToyBackbone
from lavis.preparation.toy_backbone.language import pretrain_language
from lavis.preparation.toy_backbone.tokenizers import build_bert_tokenizer, build_chat_tokenizer, build_t5_tokenizer
from lavis.preparation.toy_backbone.vision import pretrain_alignment, pretrain_vision

_log = logging.getLogger(__name__)

PHASES = ("language", "vision", "alignment")
DEFAULT_STEPS = {"language": 1800, "vision": 3300, "alignment": 500}


def save_phase(model: ToyBackbone, path: Path) -> None:
    """The weights that exist once (the embeddings of encoder and decoder are one table), as fp32."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(_unique_state(model), temporary)
    os.replace(temporary, path)


def _unique_state(model: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    names = {name for name, _ in model.named_parameters()}
    return {
        name: value.detach().to(dtype or value.dtype).contiguous().clone()
        for name, value in model.state_dict().items()
        if name in names
    }


def run(out: Path, work: Path, seed: int, phases: list[str], steps: dict[str, int], precision: str) -> None:
    """All phases that are not finished yet; ``language`` and ``vision`` do not depend on each other.

    Raises:
        ValueError: if ``alignment`` is asked for before the other two are there.
    """
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    build_t5_tokenizer().save_pretrained(out / "t5_tokenizer")
    build_chat_tokenizer().save_pretrained(out / "chat_tokenizer")
    bert = build_bert_tokenizer()
    bert.save_pretrained(out / "bert_tokenizer")
    words = sorted(bert.get_vocab(), key=bert.get_vocab().__getitem__)
    (out / "bert_tokenizer" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    started = time.monotonic()

    def report(step: int, total: int, **values: float) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        _log.info("%s %d/%d  %.0f s  %s", phase, step, total, time.monotonic() - started, shown)

    trainers = {"language": pretrain_language, "vision": pretrain_vision, "alignment": pretrain_alignment}
    for phase in phases:
        path = work / f"{phase}.safetensors"
        if path.exists():
            _log.info("%s is finished: %s", phase, path)
            continue
        torch.manual_seed(seed)
        model = ToyBackbone(out / "t5_tokenizer")
        if phase == "alignment":
            load_parts(model, work)
        trainers[phase](model, steps[phase], seed, precision, report)
        save_phase(model, path)
        if phase == "alignment":
            save_file(_unique_state(model, torch.float16), out / "backbone.safetensors", {"format": "lavis"})
            _log.info("written: %s", out / "backbone.safetensors")


def load_parts(model: ToyBackbone, work: Path) -> None:
    """The language model of one phase and the rest of the other."""
    missing = [name for name in PHASES[:2] if not (work / f"{name}.safetensors").exists()]
    if missing:
        raise ValueError(f"alignment needs the phase {missing[0]!r}: {work} has no {missing[0]}.safetensors")
    language, vision = (load_file(work / f"{name}.safetensors") for name in PHASES[:2])
    state = {name: (language if name.startswith("language_model.") else vision)[name] for name in language}
    model.load_state_dict(state, strict=False)


def main() -> None:
    description, _, examples = (__doc__ or "").partition("Examples:")
    parser = argparse.ArgumentParser(
        description=description, epilog="examples:" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for tokenizers and backbone.safetensors")
    parser.add_argument("--work", type=Path, default=Path("results/pretrain_toy"), help="folder of finished phases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--phase", choices=PHASES, action="append", help="only this phase (may be repeated)")
    parser.add_argument("--steps", type=int, help="of each phase, instead of its default")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16", help="of products (default: bf16)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    steps = {name: args.steps or default for name, default in DEFAULT_STEPS.items()}
    run(args.out, args.work, args.seed, list(args.phase or PHASES), steps, args.precision)


if __name__ == "__main__":
    main()
