"""Output of frozen networks, kept in memory: what does not change is not computed twice.

Source: the encoder caches of serving systems (vLLM, TensorRT-LLM), keyed by content. Kept output is the network's own,
in its own precision, so results do not change.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


def weights_state(module: nn.Module) -> object:
    """Changes whenever a parameter of ``module`` is replaced or written to (except through ``.data``)."""
    return tuple((id(p), p._version) for p in module.parameters())


class TensorCache:
    """Tensors on the host by name, least recently used first out, valid for one state of the weights.

    Args:
        max_bytes: what may be kept; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self._entries: OrderedDict[str, Tensor] = OrderedDict()
        self._weights: object = None

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, weights: object) -> Tensor | None:
        """What is kept under ``key`` for this state of the weights, on the host; ``None`` if nothing is."""
        if weights != self._weights or key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: str, tensor: Tensor, weights: object) -> None:
        """Keeps a copy on the host; drops everything if the weights changed, and the oldest if there is no room."""
        if weights != self._weights:
            self._entries.clear()
            self.size, self._weights = 0, weights
        added = tensor.numel() * tensor.element_size()
        if added > self.max_bytes or key in self._entries:
            return
        self._entries[key] = tensor.detach().cpu()
        self.size += added
        while self.size > self.max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self.size -= dropped.numel() * dropped.element_size()
