"""The fixed sections of a configuration as dataclasses; their fields, types and defaults are the schema.

Parts (encoders, codecs, ...) have no dataclass: there the constructor's signature is the schema, see ``check.py``.
A field says its unit and range in its comment; ``__post_init__`` enforces the range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RENAMED = {
    "accum_grad_iters": "accumulate",
    "amp": "precision",
    "arch": "name",
    "batch_size_eval": "eval_batch_size",
    "batch_size_train": "batch_size",
    "evaluate": "evaluate_only",
    "grad_norm_clip": "clip_grad_norm",
    "init_lr": "learning_rate",
    "lr_sched": "schedule",
    "max_epoch": "epochs",
    "max_len": "max_tokens",
    "min_lr": "min_learning_rate",
    "n_frms": "num_frames",
    "resume_ckpt_path": "resume",
    "use_grad_checkpoint": "use_checkpoint",
    "warmup_lr": "warmup_learning_rate",
}
"""What LAVIS calls a setting, and what it is called here: for suggestions only."""


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    """Which number decides the best checkpoint."""

    split: str = "val"  # one of run.valid_splits
    metric: str = "agg_metrics"  # key of that split's metrics
    mode: Literal["max", "min"] = "max"  # whether higher or lower is better


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Low-rank adapters of a language model."""

    rank: int = 8  # of the update, at least 1
    alpha: float = 8.0  # the update is scaled by alpha / rank; above 0
    dropout: float = 0.05  # on the adapter's input, in [0, 1)
    targets: list[str] | None = None  # last names of the layers to adapt; null is every linear layer

    def __post_init__(self) -> None:
        _at_least("rank", self.rank, 1)
        _above("alpha", self.alpha, 0)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.targets is not None and not self.targets:
            raise ValueError("targets is an empty list; use null to adapt every linear layer")


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """How text is decoded."""

    num_beams: int = 5  # beams, at least 1; 1 is greedy
    max_new_tokens: int = 70  # tokens, at least 1
    min_length: int = 1  # tokens of an answer and one more, at least 0
    length_penalty: float = 1.0  # exponent of the length a beam's score is divided by
    # 1 is none; above 0; of the answer's tokens, and with one beam of a decoder of the prompt's but not added ones
    repetition_penalty: float = 1.0
    # other ones for samples of a kind, with one beam
    repetition_penalty_of_kind: Mapping[str, float] = field(default_factory=dict)
    temperature: float | None = None  # above 0: answers are drawn, with one beam; null takes the likeliest token
    top_k: int | None = None  # of the likeliest tokens that are drawn from, at least 1; null is all
    top_p: float = 1.0  # share of probability that is drawn from, in (0, 1]
    stops: list[str] = field(default_factory=list)  # texts at which an answer ends, beside the model's own end token
    special_tokens: Literal["added", "all"] = "added"  # that stay in a decoder's text: those of added_tokens, or all

    def __post_init__(self) -> None:
        _at_least("num_beams", self.num_beams, 1)
        _at_least("max_new_tokens", self.max_new_tokens, 1)
        _at_least("min_length", self.min_length, 0)
        _above("repetition_penalty", self.repetition_penalty, 0)
        for kind, penalty in self.repetition_penalty_of_kind.items():
            _above(f"repetition_penalty_of_kind[{kind!r}]", penalty, 0)
        if self.repetition_penalty_of_kind and self.num_beams != 1:
            raise ValueError(f"repetition_penalty_of_kind needs num_beams=1, got num_beams={self.num_beams}")
        if self.temperature is not None:
            _above("temperature", self.temperature, 0)
            if self.num_beams != 1:
                raise ValueError(f"answers are drawn (temperature) with num_beams=1, got num_beams={self.num_beams}")
        if self.top_k is not None:
            _at_least("top_k", self.top_k, 1)
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """How videos are decoded, and how many may fail."""

    # in a process of its own, so that no file can stop or kill a loader; auto: where there are loader processes
    isolate: bool | Literal["auto"] = "auto"
    seconds: float = 120.0  # that one video may take there, above 0
    memory_mb: int = 4096  # MiB that one video may take there, at least 1
    # samples of a data set's split that on_decode_error: skip may leave out: below 1 a share, rounded up, otherwise a
    # number; null is any number
    max_errors: float | None = 0.01

    def __post_init__(self) -> None:
        _above("seconds", self.seconds, 0)
        _at_least("memory_mb", self.memory_mb, 1)
        if self.max_errors is not None:
            _at_least("max_errors", self.max_errors, 0)
            if self.max_errors >= 1 and self.max_errors != int(self.max_errors):
                raise ValueError(f"max_errors must be below 1 (a share) or a whole number, got {self.max_errors}")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How a model is trained and evaluated."""

    output_dir: str = "results"  # folder of all runs; this one writes to output_dir/<name of the experiment>
    seed: int = 42  # of everything random, at least 0
    device: str = "auto"  # auto, cpu, cuda, cuda:N or mps
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of autocast
    eval_precision: Literal["fp32", "bf16", "fp16"] | None = None  # of autocast in evaluation; null is precision
    deterministic: bool = False  # forbid operations whose result varies; slower
    threads: int | None = None  # CPU threads of one process, at least 1; null keeps OMP_NUM_THREADS, or is 1 on a CPU
    strategy: Literal["auto", "ddp", "fsdp2", "deepspeed"] = "auto"  # of several processes; auto asks the launcher
    zero_stage: Literal[1, 2, 3] = 2  # what deepspeed shards: 1 optimiser, 2 gradients too, 3 parameters too
    cpu_offload: bool = False  # keep shards (fsdp2), or optimiser and in stage 3 parameters (deepspeed), in host memory
    find_unused_parameters: bool = False  # ddp only: some batches do not reach every parameter
    # recompute activations of layers instead of keeping them, by torch or fairscale; true is torch, false is none
    activation_checkpointing: Literal["none", "torch", "fairscale"] | bool = "none"
    # torch.compile of the layers that learn, in training: false, true, or its mode, such as max-autotune
    compile: bool | Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = False
    hang_timeout: float | None = 1800.0  # seconds one of several processes may stand still, above 0; null is for ever

    epochs: int = 1  # passes over the training data, at least 0
    max_steps: int | None = None  # stop after so many iterations, at least 1; null is no limit
    batch_size: int = 1  # samples of one process in one iteration, at least 1
    # tokens of a training batch, padded, at least 1, in place of batch_size: samples of like length share a batch; a
    # longer one comes alone
    batch_tokens: int | None = None
    # samples that do not fill an epoch's last iteration: spread makes all batches a little smaller, so that each comes
    # exactly once; drop leaves them out, as LAVIS does; repeat takes the first ones again
    remainder: Literal["spread", "drop", "repeat"] = "spread"
    # samples of text alone share batches, and samples with a picture or video do, each with others of like length
    group_by_modality: bool = False
    # batch_size of evaluation; null is the same, or no limit where eval_batch_tokens sets one
    eval_batch_size: int | None = None
    eval_batch_tokens: int | None = None  # tokens of an evaluation batch, padded, at least 1; null counts samples only
    accumulate: int = 1  # iterations of one optimiser step, at least 1
    # samples of one optimiser step on all processes together, at least 1; accumulate follows from it, whatever the
    # number of processes; null leaves that as it is
    global_batch_size: int | None = None
    accumulation: Literal["mean", "sum"] = "mean"  # of the losses of one optimiser step
    leftover: Literal["step", "carry"] = "step"  # iterations left at an epoch's end: step with them, or carry them over
    # loader processes of one process, at least 0; with 0 training reads by itself and nothing is read ahead
    num_workers: int = 0
    prefetch_factor: int = 2  # batches each loader process keeps ready, at least 1
    persistent_workers: bool = True  # loader processes of training stay from one epoch to the next
    # pixels in page-locked memory, copied to a GPU beside its work; auto is with CUDA
    pin_memory: Literal["auto"] | bool = "auto"
    worker_start: Literal["fork", "spawn", "forkserver"] | None = None  # of loader processes; null is Python's default
    decode: DecodeConfig = field(default_factory=DecodeConfig)  # limits of reading videos
    debug: bool = False  # a quick look: one epoch of 7 iterations, and 7 batches of each evaluation

    learning_rate: float = 3e-4  # peak, above 0
    min_learning_rate: float = 0.0  # at the end, at least 0
    warmup_steps: int = 0  # iterations (not optimiser steps) from warmup_learning_rate up to the peak, at least 0
    warmup_learning_rate: float | None = None  # at the first iteration, at least 0; null is the schedule's own
    # name of a schedule, or a mapping with its name and the settings that only it has
    schedule: str | Mapping[str, Any] = field(
        default="linear_warmup_cosine", metadata={"kind": "schedules", "wiring": ("steps_per_epoch",)}
    )
    weight_decay: float = 0.05  # of parameters that decay, at least 0
    no_decay: list[str] = field(default_factory=lambda: ["bias", "ln", "bn"])  # parts of names that never decay
    decay_vectors: bool = False  # vectors and single numbers decay too, unless no_decay names them
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW, each in [0, 1)
    eps: float = 1e-8  # of AdamW, above 0
    clip_grad_norm: float | None = None  # largest norm of the gradient, above 0; null does not clip
    on_nonfinite: Literal["raise", "skip"] = "raise"  # a loss that is no finite number ends the run, or drops the step
    max_skips: int = 10  # steps dropped in a row that are too many when exceeded, at least 0
    ema: float | None = None  # decay of a moving average of what learns, in (0, 1); it is evaluated; null keeps none
    lr_groups: Mapping[str, float] = field(default_factory=dict)  # pattern of names: peak rate; the last match counts

    train_splits: list[str] = field(default_factory=lambda: ["train"])  # learned from
    valid_splits: list[str] = field(default_factory=lambda: ["val"])  # evaluated during training; empty for none
    test_splits: list[str] = field(default_factory=lambda: ["test"])  # evaluated after it; empty for none
    monitor: MonitorConfig = field(default_factory=MonitorConfig)  # which validation is the best one
    resume: str = "auto"  # auto continues an interrupted run, never starts anew, else a checkpoint's path
    evaluate_only: bool = False  # evaluate the test splits, train nothing

    log_every: int = 10  # iterations, at least 1
    # every process saves its own parts, loadable by any number of processes; null does so where fsdp2 shards
    sharded_checkpoints: bool | None = None
    save_every: int = 1  # epochs between full checkpoints, at least 1
    save_steps: int | None = None  # also save within an epoch after so many iterations, at least 1
    keep_checkpoints: int = 2  # newest full checkpoints that stay, at least 1; with 2 a torn one costs little
    keep_every: int | None = None  # those at the end of every so many epochs stay for good, at least 1; null is none
    async_save: bool = False  # write full checkpoints in a thread beside the training, from a copy in host memory
    eval_every: int = 1  # epochs between validations, at least 1; the last epoch always is
    test_weights: Literal["best", "last"] = "best"  # which weights the test splits see after training
    # more of what happens around the loop, by name or with settings: tensorboard, wandb, profiler, ...
    hooks: list[str | Mapping[str, Any]] = field(default_factory=list, metadata={"kind": "hooks"})

    def __post_init__(self) -> None:
        whole = ("batch_size", "accumulate", "log_every", "save_every", "keep_checkpoints", "eval_every")
        for name in (*whole, "prefetch_factor"):
            _at_least(name, getattr(self, name), 1)
        limits = ("threads", "max_steps", "batch_tokens", "eval_batch_size", "eval_batch_tokens", "save_steps")
        for name in (*limits, "keep_every", "global_batch_size"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        for name in ("seed", "epochs", "num_workers", "warmup_steps", "max_skips"):
            _at_least(name, getattr(self, name), 0)
        for name in ("min_learning_rate", "warmup_learning_rate", "weight_decay"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 0)
        for name in ("learning_rate", "eps"):
            _above(name, getattr(self, name), 0)
        for name in ("clip_grad_norm", "hang_timeout"):
            if getattr(self, name) is not None:
                _above(name, getattr(self, name), 0)
        if self.batch_tokens is not None and (self.group_by_modality or self.global_batch_size is not None):
            raise ValueError(
                "batch_tokens fills batches by tokens, which group_by_modality and global_batch_size count in samples; "
                "set batch_tokens to null, or leave those out"
            )
        if self.global_batch_size is not None and self.accumulate != 1:
            raise ValueError("accumulate follows from global_batch_size; set one of the two")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must be above 0 and below 1, such as 0.999, got {self.ema}")
        if self.strategy == "deepspeed" and self.on_nonfinite == "skip":
            raise ValueError("on_nonfinite=skip is not possible with strategy=deepspeed; use ddp or fsdp2")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must each be in [0, 1), got {list(self.betas)}")
        kind, _, index = self.device.partition(":")
        if kind not in ("auto", "cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
            raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps, got {self.device!r}")
        for pattern, rate in self.lr_groups.items():
            _at_least(f"lr_groups[{pattern!r}]", rate, 0)


def _at_least(name: str, value: float, low: float) -> None:
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")


def _above(name: str, value: float, low: float) -> None:
    if value <= low:
        raise ValueError(f"{name} must be above {low}, got {value}")
