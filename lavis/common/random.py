"""Randomness that belongs to one sample: the same sample draws the same numbers, whatever it is batched with.

CALCE breaks ties between frames and thins out crowded selections by chance. It takes the numbers from the global
generator, so its results vary with the batch and the number of GPUs; here they come from a ``DrawSource`` per sample.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Draw = Tensor | int | float
T = TypeVar("T", Tensor, int, float)


class DrawSource(Protocol):
    """Where a part takes random numbers from, on the CPU."""

    def rand(self, n: int) -> Tensor:
        """``[n]`` numbers, uniform in [0, 1), float32."""

    def coin(self) -> float:
        """One number, uniform in [0, 1)."""

    def randint(self, high: int) -> int:
        """One integer, uniform in 0 to ``high`` - 1."""


class SampleDraws:
    """Draws that depend on a sample's id and a seed alone.

    Args:
        sample_id: id of the sample.
        seed: seed of the run or the evaluation; another one gives other numbers.
    """

    def __init__(self, sample_id: str, seed: int = 0) -> None:
        digest = hashlib.blake2b(f"{seed}:{sample_id}".encode(), digest_size=8).digest()
        self._generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)

    def rand(self, n: int) -> Tensor:
        return torch.rand(n, generator=self._generator)

    def coin(self) -> float:
        return float(torch.rand(1, generator=self._generator))

    def randint(self, high: int) -> int:
        return int(torch.randint(high, (1,), generator=self._generator))


class RecordedDraws:
    """Replays draws recorded elsewhere, to compare results number by number.

    Args:
        values: what each call returns, in call order: tensors, floats and integers.
        then: another replay that goes on when ``values`` are used up.
    """

    def __init__(self, values: Iterable[Draw], then: RecordedDraws | None = None) -> None:
        self._values = deque(values)
        self._then = then

    @classmethod
    def for_batch(cls, values: Sequence[Draw], batch_size: int) -> list[RecordedDraws]:
        """One replay per sample of a recorded batch.

        Args:
            values: draws of the batch in call order. Those made at once for all samples, ``[batch_size, n]``, are
                split by rows; the rest is shared, and goes to the samples in the order in which they ask.
            batch_size: number of samples.
        """
        tables = [v for v in values if isinstance(v, Tensor) and v.ndim == 2]
        shared = cls(v for v in values if not (isinstance(v, Tensor) and v.ndim == 2))
        return [cls([table[i] for table in tables], then=shared) for i in range(batch_size)]

    def rand(self, n: int) -> Tensor:
        value = self._next(f"rand({n})", Tensor)
        if value.shape != (n,):
            raise ValueError(f"rand({n}) was asked for but the recorded draw has shape {tuple(value.shape)}")
        return value

    def coin(self) -> float:
        return self._next("coin()", float)

    def randint(self, high: int) -> int:
        value = self._next(f"randint({high})", int)
        if not 0 <= value < high:
            raise ValueError(f"randint({high}) was asked for but the recorded draw is {value}")
        return value

    def _next(self, call: str, kind: type[T]) -> T:
        if not self._values and self._then is not None:
            return self._then._next(call, kind)
        if not self._values:
            raise ValueError(f"{call} was asked for but no recorded draw is left: more draws are made than recorded")
        value = self._values.popleft()
        if not isinstance(value, kind):
            raise ValueError(f"{call} was asked for but the recorded draw is {value!r}: the order of draws differs")
        return value
