"""Toy models of the real classes for tests: random weights, a tokenizer made in memory, a few thousand parameters."""

from __future__ import annotations

import atexit
import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from lavis.models.build import build_model
from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch, Frames, Moment, Subtitle, VideoSample

WORDS = (
    "Query Items Given the video and subtitle query find relevant windows Relevant man dog talks camera runs red blue "
    "open door said hello Question Option A B C D Considering information presented in frames select correct answer "
    "from options ref a to is"
).split()


def lasting_folder(prefix: str) -> Path:
    """A folder for as long as this process runs."""
    folder, owner = Path(mkdtemp(prefix=prefix)), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # and not one that was forked from it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


@cache
def t5_tokenizer() -> str:
    """Folder of a T5-like tokenizer with digits, brackets and a few words; ``67`` takes two tokens without ``▁``."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", "▁"]
    numbers = [f"▁{n}" for n in range(160) if n not in (67, 111)] + ["▁6", "▁11"]
    rest = [
        *"0123456789.:,[]>()\n-*?",
        "▁[[",
        "▁[",
        "]]",
        "▁-1",
        *(f"▁{w}" for w in WORDS),
        *(chr(c) for c in range(97, 123)),
    ]
    vocabulary = list(dict.fromkeys([*pieces, *numbers, *rest, *(chr(c) for c in range(65, 91))]))
    scores = [
        (p, 0.0 if i < 3 else -2.0 if p == "▁" else -1.0 if p[0] == "▁" else -3.0) for i, p in enumerate(vocabulary)
    ]
    scores += [(f"<extra_id_{i}>", 0.0) for i in range(99, -1, -1)]
    tokenizer = Tokenizer(Unigram(scores, unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder = str(lasting_folder("toy_t5_"))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=[f"<extra_id_{i}>" for i in range(100)],
    )
    fast.save_pretrained(folder)
    return folder


@cache
def bert_tokenizer() -> str:
    """Folder of a BERT tokenizer with lower-case words and letters."""
    letters = [chr(c) for c in range(97, 123)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w.lower() for w in WORDS}), *letters]
    pieces += [f"##{letter}" for letter in letters]
    folder = lasting_folder("toy_bert_")
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    return str(folder)


def vocabulary_size() -> int:
    """Rows the toy language models need."""
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(t5_tokenizer()))


def model_node(**changes: Any) -> dict[str, Any]:
    """``model`` node of a toy CALCE; ``changes`` replace parts, a mapping with one key ``+`` is merged instead."""
    node: dict[str, Any] = {
        "encoder": {
            "name": "eva_vit", "image_size": 28, "patch_size": 14, "width": 16, "depth": 2, "heads": 2,
            "vit_precision": "fp32",
        },
        "compressor": {
            "name": "keyframe_qformer",
            "num_queries": 4,
            "qformer": {"vocab_size": 200, "width": 16, "layers": 2, "heads": 2, "hidden": 24, "max_positions": 64},
            "keyframes": {"num_clusters": 3},
        },
        "prompt": {"name": "interleaved"},
        "subtitle_choice": {"tokenizer": bert_tokenizer(), "threshold": -1.0, "max_tokens": 64},
        "codec": {"name": "seconds_text"},
        "language_model": {
            "name": "t5",
            "tokenizer": t5_tokenizer(),
            "overrides": {
                "vocab_size": vocabulary_size(), "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 3,
            },
            "lora": {"rank": 2, "alpha": 2},
        },
        "generation": {"num_beams": 2, "max_new_tokens": 6},
        "trainable": [
            "language_model.*.lora_*", "compressor.t5_proj.*", "compressor.query_proj.*", "encoder.ln_vision.*",
        ],
    }  # fmt: skip
    for key, value in changes.items():
        merged = isinstance(value, dict) and set(value) == {"+"}
        node[key] = {**node[key], **value["+"]} if merged else value
    return node


def toy_model(**changes: Any) -> VideoLLM:
    """The built model in evaluation mode, with LoRA updates that are not zero."""
    torch.manual_seed(0)
    model = build_model(model_node(**changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model.eval()


def sample(identity: str = "q1", **fields: Any) -> VideoSample:
    """A question on a video of 30 s."""
    values: dict[str, Any] = {
        "video": "none.mp4",
        "query": "man talks",
        "duration": 30,
        "moments": [Moment(4, 12)],
        "subtitles": [Subtitle(2.0, 4.0, "hello man"), Subtitle(8.0, 9.6, "open door")],
        "items": ["man"],
    }
    return VideoSample(id=identity, **{**values, **fields})


def batch(*samples: VideoSample, num_frames: int | tuple[int, ...] = 8) -> Batch:
    """The samples with frames drawn from their ids."""
    counts = (num_frames,) * len(samples) if isinstance(num_frames, int) else num_frames
    frames = []
    for s, count in zip(samples, counts, strict=True):
        pixels = torch.rand(count, 3, 28, 28, generator=torch.Generator().manual_seed(sum(map(ord, s.id))))
        frames.append(Frames(pixels, [i * float(s.duration) / count for i in range(count)], key=f"{s.id}:{count}"))
    return Batch(list(samples), {"frames": frames})
