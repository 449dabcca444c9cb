"""Where and how a model computes: device, precision, processes, seeds and threads, over accelerate.

One process on a CPU needs no launcher; ``torchrun`` and ``accelerate launch`` start several. Precision is autocast
around training and generation alike, with a loss scaler in fp16. DDP and DeepSpeed come from accelerate. FSDP2 is
torch's own ``fully_shard`` (see ``common/distributed.py``), since accelerate shards on GPUs only.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError, trainable_state
from lavis.runners.activations import transformer_blocks
from lavis.runners.randomness import random_state, seed_everything, set_random_state

Precision = Literal["fp32", "bf16", "fp16"]
Strategy = Literal["auto", "ddp", "fsdp2", "deepspeed"]
OptimizerMaker = Callable[[Iterable[tuple[str, nn.Parameter]]], torch.optim.Optimizer]


class Engine:
    """Device, precision and processes of one run.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: of autocast; weights keep their own type.
        eval_precision: of autocast in evaluation; ``None`` is ``precision``.
        strategy: how several processes share the work: ``ddp`` copies the model, ``fsdp2`` shards parameters,
            gradients and optimizer, ``deepspeed`` shards by ZeRO; ``auto`` is what the launcher asks for, else ``ddp``.
        seed: of ``random``, NumPy and torch. All processes build the same model with it; from ``prepare`` on, process
            ``r`` uses ``seed + r``.
        threads: CPU threads of this process. ``None`` keeps ``OMP_NUM_THREADS`` or, on a CPU, takes one: threads that
            wait for a core another process holds make small models many times slower.
        deterministic: forbid operations whose result varies.
        find_unused_parameters: lets DDP cope with parameters that some batches do not reach.
        cpu_offload: keep shards (fsdp2) or the optimizer (deepspeed) in host memory.
        zero_stage: 1 or 2, for deepspeed; where parameters must be sharded too, take ``fsdp2``.
        clip_grad_norm: largest norm of the gradient, ``None`` does not clip.
        batch_size: samples of one process in one iteration, which deepspeed wants to know.

    Raises:
        ValueError: for a device that is not there, or a precision it does not have.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        eval_precision: Precision | None = None,
        strategy: Strategy = "auto",
        seed: int = 42,
        threads: int | None = None,
        deterministic: bool = False,
        find_unused_parameters: bool = False,
        cpu_offload: bool = False,
        zero_stage: int = 2,
        clip_grad_norm: float | None = None,
        batch_size: int = 1,
    ) -> None:
        kind, index = _choose_device(device)
        if kind == "cpu" and "fp16" in (precision, eval_precision):
            raise ValueError("run.precision=fp16 needs a GPU; on a CPU use fp32 or bf16")
        self.precision = precision
        self.eval_precision: Precision = eval_precision or precision
        self.strategy = _choose_strategy(strategy)
        self.clip_grad_norm = clip_grad_norm
        self.cpu_offload = cpu_offload
        self.seed = seed
        if self.strategy == "deepspeed":
            sharing = _deepspeed(zero_stage, cpu_offload, clip_grad_norm, batch_size)
        else:
            sharing = _ddp(find_unused_parameters)
        autocast = "no" if precision == "fp32" else precision
        options = {"mixed_precision": autocast, "cpu": kind == "cpu", **sharing}
        self._accelerator: Any = _accelerator(kind, index, options)
        self.device: torch.device = self._accelerator.device
        if distributed.initialized():
            atexit.register(distributed.shutdown)
        self._set_threads(threads)
        seed_everything(seed)
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
        self.model: nn.Module | None = None
        self._wrapped: nn.Module | None = None
        self._optimizer: Any = None

    def __str__(self) -> str:
        count = distributed.world_size()
        return f"{self.device} in {self.precision}" + (f", {count} processes ({self.strategy})" if count > 1 else "")

    def prepare(self, model: nn.Module, make_optimizer: OptimizerMaker | None = None) -> None:
        """Moves the model to the device and, for training, wraps it and makes its optimizer.

        Args:
            model: the model, kept as ``self.model``; wrappers hold it, so its methods and names stay as they are.
            make_optimizer: gets names and parameters, sharded if they are; ``None`` prepares for evaluation only.
        """
        self.model = model
        seed_everything(self.seed + distributed.rank())
        sharded = self.strategy == "fsdp2" and distributed.world_size() > 1
        if not (sharded and self.cpu_offload):
            model.to(self.device)
        if sharded:
            blocks = [block for _, block in transformer_blocks(model)]
            distributed.shard(model, blocks, cpu_offload=self.cpu_offload)
        if make_optimizer is None:
            self._wrapped = model
            return
        optimizer = make_optimizer(model.named_parameters())
        if sharded:
            self._wrapped = model
            self._optimizer = self._accelerator.prepare_optimizer(optimizer, device_placement=False)
        else:
            self._wrapped, self._optimizer = self._accelerator.prepare(model, optimizer)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, for its parameter groups."""
        assert self._optimizer is not None, "prepare() was called without an optimizer"
        optimizer: torch.optim.Optimizer = self._optimizer
        return optimizer

    @property
    def scaler(self) -> Any:
        """The loss scaler of fp16, or ``None``."""
        return self._accelerator.scaler

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Losses of a batch by name, each a scalar."""
        assert self._wrapped is not None, "prepare() comes first"
        with self._autocast(self.precision):
            result: dict[str, Tensor] = self._wrapped(batch)
        return result

    def _autocast(self, precision: Precision) -> AbstractContextManager[Any]:
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=precision != "fp32")

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Context of forward and backward; gradients of the processes are added only in the ``last`` one of a step."""
        self._accelerator.sync_gradients = last
        if last or self.strategy != "ddp" or distributed.world_size() == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self._accelerator.no_sync(self._wrapped)
        return context

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of ``loss``."""
        self._accelerator.backward(loss)

    def step(self) -> float | None:
        """Clips, steps the optimizer and clears the gradients.

        Returns:
            norm of the gradient before clipping, ``None`` where it is not clipped.
        """
        assert self.model is not None
        norm = None
        if self.clip_grad_norm is not None:
            parameters = [p for p in self.model.parameters() if p.requires_grad]
            norm = self._accelerator.clip_grad_norm_(parameters, self.clip_grad_norm)
        self._accelerator.sync_gradients = True
        self.optimizer.step()
        self.optimizer.zero_grad()
        return None if norm is None else float(distributed.whole(norm) if isinstance(norm, Tensor) else norm)

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The model in evaluation mode, without gradients, whole on every process, and in ``eval_precision``.

        Random states are put back afterwards, so that training does not depend on when it is evaluated.
        """
        assert self.model is not None
        was_training, before = self.model.training, random_state()
        self.model.eval()
        try:
            with distributed.gathered(self.model), torch.no_grad(), self._autocast(self.eval_precision):
                yield self.model
        finally:
            self.model.train(was_training)
            set_random_state(before)

    def weights(self) -> dict[str, Tensor]:
        """Weights that training changes, whole, on the CPU; every process must ask."""
        assert self.model is not None
        return {name: distributed.whole(tensor).cpu() for name, tensor in trainable_state(self.model).items()}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Puts ``weights()`` back.

        Raises:
            CheckpointError: if the names are not those of what learns now.
        """
        assert self.model is not None
        own = trainable_state(self.model)
        if own.keys() != state.keys():
            odd = sorted(own.keys() ^ state.keys())
            raise CheckpointError(
                f"the saved weights are not those that learn now; {len(odd)} names differ, such as "
                f"{', '.join(odd[:5])}. Was model.trainable changed? Choose another name of the run, or resume=never"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(distributed.shard_like(state[name], tensor))

    def optimizer_state(self) -> dict[str, Any]:
        """State of the optimizer, whole, on the CPU; every process must ask. Empty with deepspeed, see ``save_own``."""
        if self.strategy == "deepspeed":
            return {}
        state: dict[str, Any] = self.optimizer.state_dict()
        values = {
            index: {key: distributed.whole(v).cpu() if isinstance(v, Tensor) else v for key, v in row.items()}
            for index, row in state["state"].items()
        }
        return {"state": values, "param_groups": state["param_groups"]}

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Puts ``optimizer_state()`` back.

        Raises:
            ValueError: if its groups are not those of this optimizer.
        """
        if self.strategy == "deepspeed":
            return
        own = self.optimizer.param_groups
        if [group["names"] for group in own] != [group["names"] for group in state["param_groups"]]:
            raise ValueError("the groups hold other parameters")
        parameters = [p for group in own for p in group["params"]]
        values = {
            index: {key: _laid_out(v, parameters[index]) if isinstance(v, Tensor) else v for key, v in row.items()}
            for index, row in state["state"].items()
        }
        self.optimizer.load_state_dict({"state": values, "param_groups": state["param_groups"]})

    def save_own(self, folder: Path) -> None:
        """Lets deepspeed write what it holds in parts of its own; every process must call."""
        if self.strategy == "deepspeed":
            self._deepspeed.save_checkpoint(str(folder), tag="deepspeed", exclude_frozen_parameters=True)

    def load_own(self, folder: Path) -> None:
        """Inverts ``save_own``."""
        if self.strategy == "deepspeed":
            self._deepspeed.load_checkpoint(str(folder), tag="deepspeed", load_module_strict=False)

    @property
    def _deepspeed(self) -> Any:
        return self._wrapped

    def close(self) -> None:
        """Lets go of the model and of accelerate's settings, so that another run may follow in this process."""
        from accelerate.state import AcceleratorState, GradientState

        self._wrapped = self._optimizer = self.model = self._accelerator = None
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        if self.strategy == "deepspeed":
            os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)

    def _set_threads(self, threads: int | None) -> None:
        if threads is None and (self.device.type != "cpu" or "OMP_NUM_THREADS" in os.environ):
            return
        torch.set_num_threads(threads or 1)


def _choose_device(device: str) -> tuple[str, int | None]:
    kind, _, index = device.partition(":")
    if kind == "auto":
        return ("cuda" if torch.cuda.is_available() else "cpu"), None
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise ValueError(f"run.device must be auto, cpu, cuda, cuda:N or mps, got {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"run.device={device} but torch {torch.__version__} sees no GPU; use run.device=cpu or auto")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise ValueError(f"run.device={device} but there are {torch.cuda.device_count()} GPUs, counted from 0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError("run.device=mps but this machine has none; use run.device=cpu or auto")
    return kind, int(index) if index else None


def _choose_strategy(strategy: Strategy) -> Literal["ddp", "fsdp2", "deepspeed"]:
    if strategy not in ("auto", "ddp", "fsdp2", "deepspeed"):
        raise ValueError(f"run.strategy must be auto, ddp, fsdp2 or deepspeed, got {strategy!r}")
    # What `accelerate launch` was told arrives in the environment; sharding is done here, so accelerate must not see
    # it.
    asked_fsdp = os.environ.pop("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if strategy != "auto":
        return strategy
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        return "deepspeed"
    return "fsdp2" if asked_fsdp else "ddp"


def _accelerator(kind: str, index: int | None, options: Mapping[str, Any]) -> Any:
    from accelerate import Accelerator

    if kind == "cuda" and index is not None and not distributed.launched():
        torch.cuda.set_device(index)
    return Accelerator(**options)


def _ddp(find_unused_parameters: bool) -> dict[str, Any]:
    from accelerate.utils import DistributedDataParallelKwargs

    return {"kwargs_handlers": [DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)]}


def _deepspeed(zero_stage: int, cpu_offload: bool, clip_grad_norm: float | None, batch_size: int) -> dict[str, Any]:
    from accelerate.utils import DeepSpeedPlugin

    if zero_stage not in (1, 2):
        raise ValueError(f"run.zero_stage must be 1 or 2, got {zero_stage}; to shard parameters use run.strategy=fsdp2")
    plugin = DeepSpeedPlugin(
        zero_stage=zero_stage,
        gradient_accumulation_steps=1,  # the runner scales the loss and says where a step ends
        gradient_clipping=clip_grad_norm,
        offload_optimizer_device="cpu" if cpu_offload else "none",
    )
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = batch_size
    return {"deepspeed_plugin": plugin}


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    return distributed.shard_like(value, parameter) if value.shape == parameter.shape else value
