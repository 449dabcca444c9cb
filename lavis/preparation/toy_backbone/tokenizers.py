"""The three tokenizers of the toy flavours, built from the words of the generated corpus.

``build_t5_tokenizer`` has the layout of T5's: ``<pad>``=0, ``</s>``=1, ``<unk>``=2, a lone ``▁``=3, most integers as
a single piece both after a space (``▁12``) and inside a word (``12``), and ``<extra_id_99>`` .. ``<extra_id_0>`` at
the end. As in T5, a few integers are not single pieces, so that code which must cope with them is exercised.
``build_bert_tokenizer`` is a WordPiece vocabulary with BERT's special tokens. Both fall back to letters, so
any ASCII text can be read. ``build_chat_tokenizer`` is a byte-level BPE with the marks of Phi-3's and Qwen2's
conversations, for decoders; it reads any text.
"""

from __future__ import annotations

import re
import string

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertTokenizer, PreTrainedTokenizerFast, T5Tokenizer

from lavis.preparation.moving_shapes import script as corpus

MAX_INTEGER = 200
SPLIT_INTEGERS = frozenset({139, 157, 173, 193})
PROMPT_TEXTS = (
    "Query: ref: Items:",
    "Given the video and the subtitle and the query, find the query relevant windows.\nRelevant windows:",
    "Given the video and the query, find the relevant windows.",
    "*None* Well, now Now Subtitle: Answer: Question: Options: Describe the picture. nothing",
    "when do we see or hear this Words Topic Name the seconds When was that Look at Tell me the times",
    "Perhaps Write to and between from until",
    "left right top bottom middle on in front of empty background",
)
CHAT_TEXTS = (
    "You are a helpful AI assistant. You are a helpful assistant.",
    "You are given a video. Watch the video carefully and find the visual event described by the sentence:",
    "Provide a detailed description of the event. Provide a detailed description of the clip.",
    "Densely localize a series of clips and briefly describe each clip. Summarize the video by focusing on the clips",
    "Therefore, the answer is (A). (B) (C) (D) (E) Best Option: (",
    "The event happens in - seconds. What happens between? Describe the video in one sentence. A colored shape moves",
)
CHAT_MARKS = (
    "<|endoftext|>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|im_start|>", "<|im_end|>",
)  # fmt: skip
CHAT_SIZE = 1024
PATTERNS = ("plain", "gradient", "stripes", "checks", "horizon")


def corpus_words() -> list[str]:
    """All words of queries, captions, subtitles and prompts, as written, sorted."""
    texts = [
        *corpus.COLOURS, *corpus.SHAPES, *corpus.MOTIONS, *corpus.SEEN_TEMPLATES, *corpus.SAID_TEMPLATES,
        *corpus.SUBJECTS, *corpus.PREDICATES, *corpus.FILLERS, *PROMPT_TEXTS, *PATTERNS,
        "Which colour has What is screen at second order describe",
    ]  # fmt: skip
    return sorted({w for text in texts for w in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", " ", text))})


def build_t5_tokenizer() -> T5Tokenizer:
    """The T5 tokenizer; its length is a multiple of eight."""
    pieces: list[tuple[str, float]] = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    integers = [str(n) for n in range(MAX_INTEGER + 1) if n not in SPLIT_INTEGERS]
    pieces += [(f"▁{n}", -5.0) for n in integers]
    pieces += [(n, -5.5) for n in integers]
    brackets = ("▁[[", "[[", "▁[", "[", "]]", "]", "],", ",", ".", ":", ">", "▁*", "*", "-", "▁-", "▁(", "(", ")")
    pieces += [(p, -5.0) for p in brackets]
    words = corpus_words()
    pieces += [("None", -7.0), *((f"▁{word}", -7.0) for word in words)]
    taken = {piece for piece, _ in pieces}
    marks = (*string.ascii_letters, *string.punctuation)
    pieces += [(c, -12.0) for c in marks if c not in taken]
    pieces += [(f"▁{c}", -12.0) for c in string.ascii_lowercase if f"▁{c}" not in taken]
    filler = -(len(pieces) + 100) % 8
    pieces += [(f"<unused_{i}>", -100.0) for i in range(filler)]
    pieces += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(100))]
    return T5Tokenizer(vocab=pieces)


def build_bert_tokenizer() -> BertTokenizer:
    """The BERT tokenizer, lower case; its length with ``[DEC]`` added at run time stays below a multiple of eight."""
    letters = (*string.ascii_lowercase, *string.digits)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *letters]
    tokens += [f"##{c}" for c in letters]
    tokens += sorted({word.lower() for word in corpus_words()} - set(tokens))
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})


def build_chat_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of toy decoders: digits are pieces of their own, and as with Phi-3, ``<|endoftext|>`` pads and
    ends, ``<|end|>`` closes a turn, and nothing is put before a text that is not asked for.
    """
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CHAT_SIZE,
        show_progress=False,
        special_tokens=[AddedToken(mark, special=True, normalized=False) for mark in CHAT_MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    words = corpus_words()
    # Every word with a space before it, more often than it occurs, so that it becomes one piece.
    tokenizer.train_from_iterator([*CHAT_TEXTS, *(f" {word} {word} {word}" for word in words), *words], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
