"""Where and how a model computes: device, precision, processes, seeds and threads, over accelerate.

One process on a CPU needs no launcher; ``torchrun`` and ``accelerate launch`` start several. Precision is autocast
around training and generation alike, with a loss scaler in fp16. DDP comes from accelerate, ZeRO from DeepSpeed (see
``zero.py``). FSDP2 is torch's own ``fully_shard`` (see ``common/distributed.py``), as accelerate shards on GPUs only.
What a checkpoint takes from it and brings back is in ``engine_state.py``.
"""

from __future__ import annotations

import atexit
import gc
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lavis.common import distributed, liveness
from lavis.common.liveness import Doing
from lavis.common.logging import get_logger
from lavis.runners.activations import transformer_blocks, uncompiled
from lavis.runners.devices import Strategy, accelerator, choose_device, choose_strategy
from lavis.runners.ema import Ema
from lavis.runners.engine_state import EngineState
from lavis.runners.failures import RunError
from lavis.runners.randomness import random_state, seed_everything, set_random_state
from lavis.runners.zero import Zero, require

Precision = Literal["fp32", "bf16", "fp16"]
OptimizerMaker = Callable[[Iterable[tuple[str, nn.Parameter]]], torch.optim.Optimizer]
logger = get_logger(__name__)
MESSAGE_HOURS = 24.0
"""How long a message may wait where the watchdog looks after the processes: it knows a hang from a long evaluation."""


class Engine(EngineState):
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
        cpu_offload: keep shards (fsdp2) or the optimizer (deepspeed; with stage 3 parameters too) in host memory.
        zero_stage: of deepspeed: 1 shards the optimizer, 2 gradients too, 3 parameters too.
        clip_grad_norm: largest norm of the gradient, ``None`` does not clip.
        batch_size: samples of one process in one iteration, which deepspeed wants to know.
        ema: decay of a moving average of what learns, which is then evaluated; ``None`` keeps none.
        sharded_checkpoints: whether every process saves its own parts; ``None`` does so where fsdp2 shards.
        watched: whether a watchdog ends the run if a process hangs, so that messages need no time limit of their own.

    Raises:
        ValueError: for a device that is not there, a precision it does not have, or settings that exclude each other.
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
        ema: float | None = None,
        sharded_checkpoints: bool | None = None,
        watched: bool = False,
    ) -> None:
        kind, index = choose_device(device)
        if kind == "cpu" and "fp16" in (precision, eval_precision):
            setting = "precision" if precision == "fp16" else "eval_precision"
            raise ValueError(f"run.{setting}=fp16 needs a GPU; on a CPU use fp32 or bf16")
        self.precision = precision
        self.eval_precision: Precision = eval_precision or precision
        self.strategy = choose_strategy(strategy)
        if self.strategy == "deepspeed":
            _check_deepspeed(zero_stage, precision, ema, sharded_checkpoints)
        if kind == "cpu" and self.strategy == "fsdp2" and cpu_offload:
            raise ValueError(
                "run.cpu_offload=true with run.strategy=fsdp2 needs GPUs: on a CPU shards are there already"
            )
        self.clip_grad_norm = clip_grad_norm
        self.cpu_offload = cpu_offload
        self.zero_stage = zero_stage
        self.batch_size = batch_size
        self.seed = seed
        self._ema_decay = ema
        autocast = "no" if precision == "fp32" else precision
        hours = MESSAGE_HOURS if watched else None
        self._accelerator: Any = accelerator(kind, index, autocast, find_unused_parameters, hours)
        self.device: torch.device = self._accelerator.device
        if distributed.initialized():
            atexit.register(distributed.shutdown)
        self._set_threads(threads)
        seed_everything(seed)
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
        shares = distributed.world_size() > 1
        self._sharded = shares and self.strategy == "fsdp2"
        super().__init__(self._sharded if sharded_checkpoints is None else sharded_checkpoints)
        self._wrapped: Any = None
        self._last = True

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
        if self.strategy != "ddp" and distributed.world_size() == 1:
            logger.info("run.strategy=%s shares nothing: there is one process; see docs/multi_gpu.md", self.strategy)
        if not (self._sharded and self.cpu_offload):
            model.to(self.device)
        if self._sharded:
            # Only these run equally often on every process: frames are encoded by the chunk, and not if they are kept.
            part = getattr(model, "language_model", model)
            blocks = [block for _, block in transformer_blocks(part)]
            distributed.shard(model, blocks, self.device, cpu_offload=self.cpu_offload)
        self._wrapped = model
        if make_optimizer is None:
            return
        if self._ema_decay is not None:
            self.ema = Ema(self._ema_decay, model.named_parameters())
        optimizer = make_optimizer(model.named_parameters())
        if self.strategy == "deepspeed" and distributed.world_size() > 1:
            self._zero = self._wrapped = Zero(
                model,
                optimizer,
                stage=self.zero_stage,
                cpu_offload=self.cpu_offload,
                clip_grad_norm=self.clip_grad_norm,
                batch_size=self.batch_size,
                bf16=self.precision == "bf16",
            )
            self._optimizer = self._zero.optimizer
        elif self._sharded:
            self._optimizer = self._accelerator.prepare_optimizer(optimizer, device_placement=False)
        else:
            self._wrapped, self._optimizer = self._accelerator.prepare(model, optimizer)

    @property
    def scaler(self) -> Any:
        """The loss scaler of fp16, or ``None``."""
        return self._accelerator.scaler

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Losses of a batch by name, each a scalar."""
        assert self._wrapped is not None, "prepare() comes first"
        liveness.now(Doing.FORWARD)
        with self._autocast(self.precision):
            result: dict[str, Tensor] = self._wrapped(batch)
        return result

    def _autocast(self, precision: Precision) -> AbstractContextManager[Any]:
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=precision != "fp32")

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Context of forward and backward; gradients of the processes are added only in the ``last`` one of a step."""
        self._last = self._accelerator.sync_gradients = last
        if last or self.strategy != "ddp" or distributed.world_size() == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self._accelerator.no_sync(self._wrapped)
        return context

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of ``loss``."""
        liveness.now(Doing.BACKWARD)
        if self._zero is not None:
            self._zero.backward(loss, self._last)
        else:
            self._accelerator.backward(loss)

    def step(self) -> float | None:
        """Clips, steps the optimizer and clears the gradients.

        Returns:
            norm of the gradient before clipping, ``None`` where it is not clipped. If it is no finite number and no
            loss scaler deals with it, nothing was changed, and the gradients are still there: see ``drop_step``.
        """
        assert self.model is not None
        liveness.now(Doing.BACKWARD)
        if self._zero is not None:
            norm = self._zero.step()
        else:
            norm = self._clip()
            if norm is not None and self.scaler is None and not math.isfinite(norm):
                return norm
            self._accelerator.sync_gradients = True
            self.optimizer.step()
            self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.model.named_parameters())
        return norm

    def drop_step(self) -> None:
        """Clears the gradients without using them.

        Raises:
            RunError: with deepspeed, which does not give its gradients away.
        """
        if self._zero is not None:
            raise RunError("run.on_nonfinite=skip is not possible with run.strategy=deepspeed; use ddp or fsdp2")
        self._accelerator.sync_gradients = True  # or accelerate keeps them for the iterations that follow
        self.optimizer.zero_grad()

    def _clip(self) -> float | None:
        if self.clip_grad_norm is None:
            return None
        assert self.model is not None
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._accelerator.sync_gradients = True
        norm = self._accelerator.clip_grad_norm_(parameters, self.clip_grad_norm)
        return float(distributed.whole(norm) if isinstance(norm, Tensor) else norm)

    def averaged(self) -> AbstractContextManager[None]:
        """Within the block the model has the weights to evaluate: the average, if one is kept."""
        assert self.model is not None
        if self.ema is not None:
            return self.ema.applied(self.model)
        return nullcontext() if self._zero is None else self._zero.whole(list(self.model.parameters()))

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The model in evaluation mode, without gradients, whole on every process, and in ``eval_precision``.

        Random states are put back afterwards, so that training does not depend on when it is evaluated.
        """
        assert self.model is not None
        was_training, before = self.model.training, random_state()
        whole = distributed.gathered(self.model) if self._zero is None else self._zero.free()
        self.model.eval()
        try:
            average = nullcontext() if self.ema is None else self.ema.applied(self.model)
            with uncompiled(self.model), average, whole, torch.no_grad(), self._autocast(self.eval_precision):
                yield self.model
        finally:
            self.model.train(was_training)
            set_random_state(before)

    def close(self) -> None:
        """Lets go of the model and of accelerate's settings, so that another run may follow in this process."""
        from accelerate.state import AcceleratorState, GradientState

        self._wrapped = self._optimizer = self.model = self._accelerator = self._zero = self.ema = None
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    def _set_threads(self, threads: int | None) -> None:
        if threads is None and (self.device.type != "cpu" or "OMP_NUM_THREADS" in os.environ):
            return
        torch.set_num_threads(threads or 1)


def _check_deepspeed(
    zero_stage: int, precision: Precision, ema: float | None, sharded_checkpoints: bool | None
) -> None:
    require()
    if zero_stage not in (1, 2, 3):
        raise ValueError(f"run.zero_stage must be 1, 2 or 3, got {zero_stage}")
    if precision == "fp16":
        raise ValueError("run.precision=fp16 is not possible with run.strategy=deepspeed; use bf16, or fsdp2")
    if ema is not None and zero_stage == 3:
        raise ValueError("run.ema is not possible with run.zero_stage=3; use stage 2, or run.strategy=fsdp2")
    if sharded_checkpoints:
        raise ValueError("run.sharded_checkpoints: deepspeed shards its checkpoints itself; leave it null")
