"""Q-Former: a BERT encoder whose learned queries read an image encoder through cross-attention.

Three uses of one network: *visual* (queries only), *text* (word pieces only, no cross-attention, own feed-forward
layers: a sentence encoder) and *joint* (queries followed by text, self-attention over both).

Source: BLIP-2 (Li et al., 2023; salesforce/LAVIS), parameter names kept, so that published weights load. Unlike it,
attention runs through ``scaled_dot_product_attention``, masks of ones are never built or added, and the text half
(word and position embeddings, text feed-forward layers, token head) can be left out from the start.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MASKED = -10000.0
"""What the original adds to the attention scores of padding (small enough for half precision)."""


class QFormer(nn.Module):
    """The network, with the children ``bert`` and, with its text half, ``cls``. The defaults are those of BLIP-2.

    Args:
        encoder_width: width of the image encoder's tokens.
        vocab_size: rows of the word embedding.
        width: C.
        layers: number of layers.
        heads: attention heads.
        hidden: inner width of the feed-forward layers.
        max_positions: longest text in tokens.
        cross_attention_every: layers 0, n, 2n ... have cross-attention.
        dropout: rate after embeddings, attention weights and each residual branch, in training.
        eps: epsilon of all norms.
        text: whether to build the text half.
        token_head: whether the text half has the head that writes tokens (``cls``).
    """

    def __init__(
        self,
        encoder_width: int,
        vocab_size: int = 30522,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden: int = 3072,
        max_positions: int = 512,
        cross_attention_every: int = 2,
        dropout: float = 0.1,
        eps: float = 1e-12,
        text: bool = True,
        token_head: bool = True,
    ) -> None:
        super().__init__()
        self.width = width
        contexts = [encoder_width if i % cross_attention_every == 0 else None for i in range(layers)]
        self.bert = _Bert(
            _Embeddings(vocab_size, width, max_positions, dropout, eps, text),
            [_Layer(width, heads, hidden, context, dropout, eps, text) for context in contexts],
        )
        self.cls = _TokenHead(vocab_size, width, eps) if text and token_head else None
        self._init_weights()
        if self.cls is not None:
            self.cls.predictions.tie(self.bert.embeddings.word_embeddings)

    def forward(
        self,
        queries: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        visual: Tensor | None = None,
        visual_mask: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states, queries first.

        Args:
            queries: ``[B, Q, C]`` query embeddings, or ``None`` for text alone.
            input_ids: ``[B, L]`` word piece ids, or ``None`` for queries alone.
            attention_mask: ``[B, L]``, 1 on real text tokens; ``None`` if all are.
            visual: ``[B, N, encoder_width]`` what the queries look at; needed with ``queries``.
            visual_mask: ``[B, N]``, 1 on real visual tokens; ``None`` if all are.

        Returns:
            ``[B, Q + L, C]``.

        Raises:
            ValueError: if neither queries nor text is given, if queries lack ``visual``, if text is longer than
                ``max_positions`` or given to a network without text half.
        """
        if queries is not None and visual is None:
            raise ValueError("a Q-Former needs visual tokens for its queries: pass visual= as well")
        num_queries = 0 if queries is None else queries.shape[1]
        hidden: Tensor = self.bert.embeddings(queries, input_ids)
        self_mask = _additive(attention_mask, num_queries, hidden.dtype)
        cross_mask = _additive(visual_mask, 0, hidden.dtype)
        for layer in self.bert.encoder.layer:
            hidden = layer(hidden, num_queries, self_mask, visual, cross_mask)
        return hidden

    def token_logits(self, hidden: Tensor) -> Tensor:
        """Vocabulary scores ``[B, L, vocab_size]`` of text states ``[B, L, C]``.

        Raises:
            ValueError: if the text half, or its head, was left out.
        """
        if self.cls is None:
            raise ValueError("this Q-Former was built without its token head (text=False or token_head=False)")
        logits: Tensor = self.cls.predictions(hidden)
        return logits

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def _additive(mask: Tensor | None, num_queries: int, dtype: torch.dtype) -> Tensor | None:
    """``[B, 1, 1, num_queries + L]`` scores to add, 0 or ``_MASKED``; ``None`` where that would change nothing."""
    if mask is None or bool(mask.all()):
        return None
    visible = F.pad(mask.to(dtype), (num_queries, 0), value=1.0)
    return ((1.0 - visible) * _MASKED)[:, None, None, :]


class _Embeddings(nn.Module):
    position_ids: Tensor

    def __init__(self, vocab: int, width: int, max_positions: int, dropout: float, eps: float, text: bool) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, width, padding_idx=0) if text else None
        self.position_embeddings = nn.Embedding(max_positions, width) if text else None
        self.LayerNorm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("position_ids", torch.arange(max_positions)[None])

    def forward(self, queries: Tensor | None, input_ids: Tensor | None) -> Tensor:
        parts = [] if queries is None else [queries]
        if input_ids is not None:
            parts.append(self._text(input_ids))
        if not parts:
            raise ValueError("a Q-Former needs queries, text or both")
        embedded = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        result: Tensor = self.dropout(self.LayerNorm(embedded))
        return result

    def _text(self, input_ids: Tensor) -> Tensor:
        if self.word_embeddings is None or self.position_embeddings is None:
            raise ValueError("this Q-Former was built without its text half (text=False) and cannot read text")
        length, limit = input_ids.shape[1], self.position_ids.shape[1]
        if length > limit:
            raise ValueError(f"text of {length} tokens exceeds max_positions {limit} of the Q-Former; truncate it")
        embedded: Tensor = self.word_embeddings(input_ids) + self.position_embeddings(self.position_ids[:, :length])
        return embedded


class _Projections(nn.Module):
    """Multi-head attention of ``hidden`` over ``context``, without output projection."""

    def __init__(self, width: int, heads: int, context_width: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"Q-Former width {width} is no multiple of {heads} heads")
        self.heads = heads
        self.dropout_rate = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width, width)
        self.value = nn.Linear(context_width, width)

    def forward(self, hidden: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (self._split(x) for x in (self.query(hidden), self.key(context), self.value(context)))
        mask = None if mask is None else mask.to(q.dtype)
        rate = self.dropout_rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class _Residual(nn.Module):
    """Projects a branch, adds it to its input and normalises (BERT's ``output``)."""

    def __init__(self, branch_width: int, width: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(branch_width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, branch: Tensor, residual: Tensor) -> Tensor:
        result: Tensor = self.LayerNorm(self.dropout(self.dense(branch)) + residual)
        return result


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, context_width: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.self = _Projections(width, heads, context_width, dropout)
        self.output = _Residual(width, width, dropout, eps)

    def forward(self, hidden: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        result: Tensor = self.output(self.self(hidden, context, mask), hidden)
        return result


class _Intermediate(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class _Layer(nn.Module):
    """One layer; queries and text share the self-attention and have feed-forward layers of their own."""

    def __init__(
        self, width: int, heads: int, hidden: int, context_width: int | None, dropout: float, eps: float, text: bool
    ) -> None:
        super().__init__()
        self.attention = _Attention(width, heads, width, dropout, eps)
        self.crossattention = None if context_width is None else _Attention(width, heads, context_width, dropout, eps)
        self.intermediate = _Intermediate(width, hidden) if text else None
        self.output = _Residual(hidden, width, dropout, eps) if text else None
        self.intermediate_query = _Intermediate(width, hidden)
        self.output_query = _Residual(hidden, width, dropout, eps)

    def forward(
        self, hidden: Tensor, num_queries: int, self_mask: Tensor | None, visual: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        hidden = self.attention(hidden, hidden, self_mask)
        parts = []
        if num_queries:
            queries = hidden[:, :num_queries]
            if self.crossattention is not None:
                queries = self.crossattention(queries, visual, mask)
            parts.append(self.output_query(self.intermediate_query(queries), queries))
        if num_queries < hidden.shape[1]:
            assert self.intermediate is not None
            assert self.output is not None
            text = hidden[:, num_queries:]
            parts.append(self.output(self.intermediate(text), text))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class _Encoder(nn.Module):
    def __init__(self, layers: list[_Layer]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class _Bert(nn.Module):
    """Holds the children under the names of published weights; ``QFormer.forward`` runs them."""

    def __init__(self, embeddings: _Embeddings, layers: list[_Layer]) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.encoder = _Encoder(layers)


class _Transform(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.LayerNorm(F.gelu(self.dense(x)))
        return result


class _Predictions(nn.Module):
    def __init__(self, vocab_size: int, width: int, eps: float) -> None:
        super().__init__()
        self.transform = _Transform(width, eps)
        self.decoder = nn.Linear(width, vocab_size)
        self.bias = self.decoder.bias

    def tie(self, words: nn.Embedding | None) -> None:
        assert words is not None
        self.decoder.weight = words.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.transform(x))
        return logits


class _TokenHead(nn.Module):
    def __init__(self, vocab_size: int, width: int, eps: float) -> None:
        super().__init__()
        self.predictions = _Predictions(vocab_size, width, eps)
