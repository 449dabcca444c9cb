"""Models of transformers, tiny and untrained, through the same classes and files as the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.preparation.internvid_g.models import ColorHistogram, TransformersCaptioner, TransformersEmbedder

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] [DEC] [ENC] a red green blue picture describe this image in detail ."
FRAMES = torch.randint(0, 255, (3, 3, 40, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TINY: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
VISION = {**TINY, "image_size": 32, "patch_size": 16}


def tokenizer_in(folder: Path) -> Any:
    from transformers import BertTokenizer

    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS.split()))
    marks = ["[DEC]", "[ENC]"]
    return BertTokenizer(str(folder / "vocab.txt"), additional_special_tokens=marks)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "clip"
    tokenizer = tokenizer_in(folder)
    torch.manual_seed(0)
    text = {
        **TINY, "vocab_size": len(WORDS.split()), "max_position_embeddings": 16, "bos_token_id": 2,
        "eos_token_id": 3, "pad_token_id": 0,
    }  # fmt: skip
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def blip(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "blip"
    tokenizer = tokenizer_in(folder)
    torch.manual_seed(0)
    text = {
        **TINY, "vocab_size": len(WORDS.split()), "max_position_embeddings": 64, "encoder_hidden_size": 16,
        "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
    }  # fmt: skip
    config = transformers.BlipConfig(text_config=text, vision_config=VISION, projection_dim=8)
    model = transformers.BlipForConditionalGeneration(config)
    with torch.no_grad():  # an untrained model may write nothing but marks, which are not part of the text
        model.text_decoder.cls.predictions.bias[:7] = -1e4
    model.save_pretrained(folder)
    images = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    transformers.BlipProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def test_a_clip(clip: Path) -> None:
    embedder = TransformersEmbedder(str(clip))
    images, texts = embedder.images(FRAMES), embedder.texts(["a red picture", "blue"])
    assert (images.shape, texts.shape, images.dtype) == ((3, 8), (2, 8), torch.float32)
    assert torch.allclose(embedder.images(FRAMES[1:2]), images[1:2], atol=1e-5)
    assert embedder.identity() == TransformersEmbedder(str(clip), device="other").identity()
    assert embedder.identity() != TransformersEmbedder(str(clip), dtype="float16").identity()
    assert embedder.texts(["a red picture " * 20]).shape == (1, 8)  # cut
    before = embedder.identity()
    (clip / "config.json").write_text((clip / "config.json").read_text() + "\n")
    assert embedder.identity() != before


def test_a_blip(blip: Path) -> None:
    import transformers

    bare = TransformersCaptioner(str(blip), prompt=None, max_new_tokens=5)
    texts = bare.captions(FRAMES)
    assert len(texts) == 3 and all(texts)
    model = transformers.BlipForConditionalGeneration.from_pretrained(blip).eval()
    processor = transformers.BlipProcessor.from_pretrained(blip)
    written = model.generate(**processor(images=list(FRAMES), return_tensors="pt"), max_new_tokens=5, do_sample=False)
    assert texts == [text.strip() for text in processor.batch_decode(written, skip_special_tokens=True)]
    asked = TransformersCaptioner(str(blip), max_new_tokens=5)
    assert all("describe this image" not in text for text in asked.captions(FRAMES[:1]))
    assert asked.identity() != bare.identity()


def test_models_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder of a model"):
        TransformersEmbedder(str(tmp_path / "absent")).images(FRAMES)
    with pytest.raises(ValueError, match="there is no precision 'half-ish'"):
        TransformersCaptioner(str(tmp_path), dtype="half-ish").captions(FRAMES)


def test_colors() -> None:
    plain = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    plain[1] = 255
    vectors = ColorHistogram(levels=2).images(plain)
    assert vectors.shape == (2, 8)
    assert (vectors @ vectors.T).tolist() == [[1, 0], [0, 1]]
