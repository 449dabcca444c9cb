"""Conversation templates as data: the marks that each family of language models was trained to see around what is said.

Source: the chat formats of Phi-3, Qwen2, Llama 3, Gemma 2 and Vicuna as E.T. Chat (PolyU-ChenLab/ETBench) and MeCo
(pangzss/MeCo) write them, which have a line break where some of the families' own formats have two or none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """What stands around the texts of a conversation.

    Args:
        system: what comes first, its end included.
        user: before what the user says.
        user_end: behind it, unless the prompt ends with that anyway.
        assistant: before an answer; a prompt to be answered ends with it.
        lead: with which a written answer begins.
        answer_end: closes an answer, and is learned with it.
        marks: what no text may hold, since it would be read as one of the above.
        whole_rounds: whether a later round, tokenised alone, has a begin token less (``labels: recounted``).
        spaced: whether an answer begins with a blank, as in Vicuna's, whose original counts tokens another way.
        bare: a picture and its caption, without a question or a mark (stage 1).
    """

    system: str
    user: str
    user_end: str
    assistant: str
    answer_end: str
    marks: tuple[str, ...]
    lead: str = ""
    whole_rounds: bool = False
    spaced: bool = False
    bare: bool = False


TEMPLATES = {
    "phi3": Template(
        system="<|system|>\nYou are a helpful AI assistant.<|end|>",
        user="\n<|user|>\n",
        user_end="<|end|>",
        assistant="\n<|assistant|>\n",
        answer_end="<|end|>",
        marks=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
    ),
    "qwen2": Template(
        system="<|im_start|>system\nYou are a helpful assistant.<|im_end|>",
        user="\n<|im_start|>user\n",
        user_end="<|im_end|>",
        assistant="\n<|im_start|>assistant\n",
        answer_end="<|im_end|>",
        marks=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        whole_rounds=True,
    ),
    "llama3": Template(
        system="<|start_header_id|>system<|end_header_id|>\nYou are a helpful AI assistant<|eot_id|>",
        user="\n<|start_header_id|>user<|end_header_id|>\n",
        user_end="<|eot_id|>",
        assistant="\n<|start_header_id|>assistant<|end_header_id|>\n",
        answer_end="<|eot_id|>",
        marks=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|begin_of_text|>", "<|end_of_text|>"),
    ),
    "gemma2": Template(
        system="",
        user="\n<start_of_turn>user\n",
        user_end="<end_of_turn>",
        assistant="\n<start_of_turn>model\n",
        answer_end="<end_of_turn>",
        marks=("<start_of_turn>", "<end_of_turn>"),
    ),
    "vicuna_v1": Template(
        system=(
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions. "
        ),
        user="USER: ",
        user_end=" ",
        assistant="ASSISTANT:",
        answer_end="</s>",
        marks=("</s>",),
        lead=" ",
        spaced=True,
    ),
    "plain": Template(system="", user="", user_end="", assistant="", answer_end="\n", marks=(), bare=True),
}
