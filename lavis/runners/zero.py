"""DeepSpeed's ZeRO: optimizer, gradients and (stage 3) parameters in parts over the processes.

Source: DeepSpeed (Rajbhandari et al., 2020), an extra. Its engine is asked directly and not through accelerate, which
starts no DeepSpeed on a CPU and steps within the backward pass, before the loss could be looked at. Weights keep their
own type and autocast decides the precision, as everywhere here, where DeepSpeed's own bf16 mode casts the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.checkpoint import CheckpointError
from lavis.runners.failures import RunError

TAG = "deepspeed"


class Zero:
    """A model and its optimizer in the hands of DeepSpeed.

    Args:
        model: on this process's device, the same on every process.
        optimizer: of what learns.
        stage: 1 shards the optimizer, 2 gradients too, 3 parameters too.
        cpu_offload: keep the optimizer (and in stage 3 the parameters) in host memory.
        clip_grad_norm: largest norm of the gradient, ``None`` does not clip.
        batch_size: samples of one process in one iteration.
        bf16: whether its autocast is on.

    Raises:
        ValueError: if the package is missing.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        stage: int,
        cpu_offload: bool,
        clip_grad_norm: float | None,
        batch_size: int,
        bf16: bool,
    ) -> None:
        deepspeed = require()
        device = {"device": "cpu" if cpu_offload else "none"}
        settings = {
            "train_micro_batch_size_per_gpu": batch_size,
            "gradient_accumulation_steps": 1,  # the runner scales the loss and says where a step ends
            "gradient_clipping": clip_grad_norm or 0.0,
            "zero_optimization": {
                "stage": stage, "offload_optimizer": device, **({"offload_param": device} if stage == 3 else {}),
            },
            # torch's AdamW also where the optimizer lies in host memory: DeepSpeed's own has to be compiled.
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "torch_autocast": {"enabled": bf16, "dtype": "bfloat16"},
            "steps_per_print": 10**9,
        }  # fmt: skip
        self.model = model
        self.stage = stage
        self.clips = clip_grad_norm is not None
        learning = [p for p in model.parameters() if p.requires_grad]
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=settings, model_parameters=learning
        )
        self._loose = _loose(model) if stage == 3 else []
        self._unused = False
        features: Any = getattr(model, "cache", None)
        if stage == 3 and features is not None:
            features.switch_off("run.zero_stage=3 holds the weights in parts, so that they cannot be told apart")

    def __call__(self, batch: Any) -> Any:
        self._gather_loose()
        return self.engine(batch)

    def _gather_loose(self) -> None:
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        parted = [p for p in self._loose if p.ds_status == ZeroParamStatus.NOT_AVAILABLE]
        if parted:
            parted[0].all_gather(parted)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds the gradients of ``loss``; those of the processes are added in the ``last`` one of a step."""
        self._gather_loose()
        self.engine.set_gradient_accumulation_boundary(is_boundary=last)
        self.engine.backward(loss)
        self._unused = True

    def step(self) -> float | None:
        """Clips and steps; the norm of the gradient before, where it is clipped."""
        self.engine.step()
        self._unused = False
        return float(self.engine.get_global_grad_norm()) if self.clips else None

    @contextmanager
    def whole(self, parameters: Sequence[nn.Parameter], changing: bool = False) -> Iterator[None]:
        """Within the block ``parameters`` are whole on every process; ``changing`` keeps what is written to them."""
        if self.stage < 3:
            yield
            return
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(list(parameters), modifier_rank=0 if changing else None):
            yield

    @contextmanager
    def free(self) -> Iterator[None]:
        """Within the block the model is whole, and a forward pass waits for no other process."""
        if self.stage < 3:
            yield
            return
        # What gathers and drops the weights of each layer would drop those that are gathered for the whole block.
        hooks = self.optimizer.parameter_offload
        with self.whole(list(self.model.parameters())):
            for parameter in self.model.parameters():
                parameter.ds_active_sub_modules.clear()  # type: ignore[attr-defined]
            hooks._remove_module_hooks()
            hooks.forward_hooks, hooks.backward_hooks = [], []
            try:
                yield
            finally:
                hooks.setup_zero_stage3_hooks()

    def save(self, folder: Path) -> None:
        """Writes the parts of all processes.

        Raises:
            RunError: between two optimizer steps, since DeepSpeed does not give its gradients away.
        """
        if self._unused:
            raise RunError(
                "deepspeed cannot save between two optimizer steps: make run.save_steps a multiple of run.accumulate, "
                "and use run.leftover=step"
            )
        self.engine.save_checkpoint(str(folder), tag=TAG, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """Inverts ``save``.

        Raises:
            CheckpointError: if it was written by another number of processes, another stage or strategy.
        """
        try:
            where, _ = self.engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=False)
        except (RuntimeError, ValueError, OSError, AssertionError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{folder}: DeepSpeed cannot go on from it ({error}). {_CURE}") from error
        if where is None:
            raise CheckpointError(f"{folder} holds no checkpoint of DeepSpeed. {_CURE}")


def _loose(model: nn.Module) -> list[Any]:
    """Learned parameters that a module with children holds itself, such as queries or a scale.

    DeepSpeed gathers weights around the forward pass of the module that holds them, and for the backward pass where
    that returned tensors. These are used outside of it, or come out in structures that DeepSpeed does not look into.
    """
    holders = [module for module in model.modules() if next(module.children(), None) is not None]
    return [p for module in holders for p in module.parameters(recurse=False) if p.requires_grad]


_CURE = (
    "ZeRO checkpoints go on with the number of processes and the run.zero_stage they were saved with; to begin anew "
    "from the weights alone set model.weights to its weights.safetensors, or use run.strategy=fsdp2, whose sharded "
    "checkpoints load anywhere"
)


def require() -> Any:
    """The package.

    Raises:
        ValueError: saying what to install.
    """
    try:
        import deepspeed
    except ImportError as error:
        raise ValueError(
            f"run.strategy=deepspeed needs its package ({error}): pip install 'lavis[deepspeed]'; run.strategy=fsdp2 "
            "shards the same without it"
        ) from error
    return deepspeed
