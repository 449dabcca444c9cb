"""``FeatureCache``: what encoder and compressor of one model share to keep the output of their frozen parts.

They say what a result was made with; this names it, finds it, and tells the processor which videos it need not decode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from lavis.common.feature_index import LEVELS, TIMES, entry_name
from lavis.common.feature_store import CacheConfig, FeatureStore, Shapes
from lavis.common.logging import get_logger
from lavis.common.provenance import TensorDigests, arithmetic, code_version, digest, modules_of, stamp_of, structure

NamedTensors = Sequence[tuple[str, Tensor]]

logger = get_logger(__name__)


def sharded(network: nn.Module) -> bool:
    """Whether processes hold parts of a network's weights now, so that all of them have to run it equally often.

    Of fsdp2, frozen networks before the language model never are, and others only between two runs of the model.
    """
    return any(hasattr(p, "full_tensor") or hasattr(p, "ds_id") for p in network.parameters())


class FeatureCache:
    """Kept features of one model.

    Args:
        config: where and how much; ``None`` keeps nothing.
    """

    def __init__(self, config: CacheConfig | None = None) -> None:
        self.config = config or CacheConfig(memory_mb=0)
        self.store = FeatureStore(self.config)
        self.training = True
        self._digests = TensorDigests()
        self._states: dict[str, tuple[object, str]] = {}
        self._said: set[str] = set()
        self._reported = (0, 0, 0)
        self._counted = (0, 0)

    @property
    def enabled(self) -> bool:
        """Whether anything is kept."""
        return self.store.enabled

    def __reduce__(self) -> tuple[type[FeatureCache], tuple[CacheConfig]]:
        return type(self), (self.config,)  # a copy of a model keeps features of its own

    def usable(self, network: nn.Module) -> bool:
        """Whether features of a network may be kept now."""
        if self.enabled and sharded(network):
            self.refuse(
                "processes share the weights that make them and must run them together; take run.strategy: ddp or fsdp2"
            )
        return self.enabled and not sharded(network)

    def state(
        self,
        role: str,
        tensors: NamedTensors,
        network: nn.Module,
        device: torch.device,
        *more: object,
        without: re.Pattern[str] | None = None,
    ) -> str:
        """Digest of what computes: weights, structure, code, precision. Found again at once while nothing changes.

        Args:
            role: whose state it is; one is remembered for each.
            tensors: weights that take part, by name.
            network: holds them.
            device: where they compute.
            more: whatever else decides the result, such as the chunk size.
            without: beginnings of names of submodules that take no part.
        """
        stamp = (tuple(stamp_of(tensor) for _, tensor in tensors), arithmetic(device), more)
        known = self._states.get(role)
        if known is None or known[0] != stamp:
            found = digest(
                sorted((name, self._digests.of(tensor)) for name, tensor in tensors),
                structure(network, without),
                code_version(modules_of([network])),
                stamp[1:],
            )
            known = self._states[role] = (stamp, found)
        return known[1]

    def mode(self, training: bool) -> None:
        """To be called at changes between training and evaluation: there weights may have changed without a trace.

        Args:
            training: mode of the model; frozen parts of it stay in evaluation mode.
        """
        self._digests.forget_learning()
        if training != self.training:
            self._digests.forget_changed()
        self.training = training
        self._states.clear()

    def get(self, key: str, state: str, shapes: Shapes, device: torch.device) -> dict[str, Tensor] | None:
        """What networks in ``state`` made of the frames called ``key``, on ``device``, or ``None``."""
        found = self.store.get(entry_name(key, state), shapes)
        return None if found is None else {name: found[name].to(device) for name in shapes}

    def put(self, key: str, state: str, tensors: Mapping[str, Tensor], times: Sequence[float], lasting: bool) -> None:
        """Keeps that; on disk only what was made by weights that do not learn."""
        at = torch.tensor(list(times), dtype=torch.float64, device="cpu")
        self.store.put(entry_name(key, state), {**tensors, TIMES: at}, lasting)

    def publish(self, level: int, state: str) -> None:
        """Tells processors what features are looked for in this mode."""
        self.store.index.publish(self.training, level, state)

    def computed(self) -> None:
        """Counts a video that went through the encoder's network."""
        self.store.counts.computed += 1

    def switch_off(self, reason: str) -> None:
        """Keeps nothing from now on, and says why."""
        self.refuse(reason)
        for train, level in product((False, True), range(LEVELS)):
            self.store.index.publish(train, level, "")  # processors are not to rely on what was there
        self.store = FeatureStore(CacheConfig(memory_mb=0))

    def refuse(self, reason: str) -> None:
        """Says once why something is not kept, and what to change."""
        if self.enabled and reason not in self._said:
            self._said.add(reason)
            logger.info("features are not kept: %s", reason)

    @property
    def refusals(self) -> list[str]:
        """Why something was not kept so far, and what to change."""
        return sorted(self._said)

    def statistics(self) -> dict[str, float]:
        """Videos found in memory and on disk, videos encoded, and MiB read and kept, since the model was built."""
        counts = self.store.counts
        return {
            "cache_memory": counts.memory,
            "cache_disk": counts.disk,
            "cache_computed": counts.computed,
            "cache_read_mib": counts.bytes_read / 2**20,
            "cache_kept_mib": counts.bytes_kept / 2**20,
        }

    def facts(self) -> dict[str, float]:
        """``cache_hits``, the part of the videos since the last call that was not encoded, if there were any."""
        counts = self.store.counts
        asked, encoded = counts.asked - self._counted[0], counts.computed - self._counted[1]
        self._counted = (counts.asked, counts.computed)
        return {"cache_hits": 1 - encoded / asked} if self.enabled and asked else {}

    def report(self) -> str | None:
        """One line about the videos since the last report; ``None`` if none was asked for or nothing is kept."""
        counts = self.store.counts
        now = (counts.memory, counts.disk, counts.computed)
        memory, disk, computed = (new - old for new, old in zip(now, self._reported, strict=True))
        self._reported = now
        if not self.enabled or not memory + disk + computed:
            return None
        held = f"{self.store.size / 2**20:.0f} of {self.store.max_bytes / 2**20:.0f} MiB in memory"
        return f"feature cache: {memory} videos from memory, {disk} from disk, {computed} encoded; {held}"
