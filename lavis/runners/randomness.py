"""Seeds and states of the global random generators of a process."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import torch


def seed_everything(seed: int) -> None:
    """Seeds ``random``, NumPy and torch on all devices."""
    seed_host(seed)
    torch.manual_seed(seed)


def seed_host(seed: int) -> None:
    """Seeds ``random``, NumPy and torch on the CPU only, which is fast enough to be done for every sample."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def random_state(devices: bool = True) -> dict[str, Any]:
    """States of all generators of this process, as plain values and tensors; of the CPU only without ``devices``."""
    import numpy as np

    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    key_values = torch.from_numpy(np.asarray(keys).astype(np.int64))
    state = {
        "python": random.getstate(),
        "numpy": (str(name), key_values, int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if devices and torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts ``random_state()`` back."""
    import numpy as np

    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def same_random_state(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two states of the CPU's generators are equal."""
    return bool(
        one["python"] == other["python"]
        and torch.equal(one["torch"], other["torch"])
        and torch.equal(one["numpy"][1], other["numpy"][1])
        and one["numpy"][2:] == other["numpy"][2:]
    )
