"""A model, data and task small enough to train in milliseconds, with all that the runner relies on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lavis.common.binding import bind_dataclass
from lavis.common.schema import RunConfig
from lavis.metrics.base import Metric
from lavis.runners.engine import Engine
from lavis.runners.hooks.base import build_hooks
from lavis.runners.optim import build_optimizer
from lavis.runners.runner import Runner
from lavis.structures import Batch, Frames, Moment, Prediction, VideoSample
from lavis.tasks.base import Task


class FakeModel(nn.Module):
    """Guesses the start of the moment from the pixels; a frozen layer, dropout and a stack that learns."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.frozen = nn.Linear(3, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.ln = nn.LayerNorm(8)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        self.frozen.requires_grad_(False)
        self.asked: list[str] = []

    def guess(self, batch: Batch) -> Tensor:
        """``[B]`` starts, as parts of the duration."""
        pixels = torch.stack([f.pixels.mean(dim=(0, 2, 3)) for f in batch.views["frames"]])
        hidden = self.frozen(pixels)
        for layer in self.layers:
            hidden = hidden + self.dropout(torch.tanh(layer(hidden)))
        guess: Tensor = self.head(self.ln(hidden)).squeeze(-1)
        return guess

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        truth = torch.tensor([s.moments[0].start / s.duration for s in batch.samples], device=self.head.weight.device)
        return {"lm": (self.guess(batch) - truth).square().mean()}

    @torch.no_grad()
    def generate(self, batch: Batch) -> list[Prediction]:
        self.asked += [s.id for s in batch.samples]
        starts = (self.guess(batch).clamp(0, 0.9) * 30).tolist()
        pairs = zip(batch.samples, starts, strict=True)
        return [Prediction(s.id, [Moment(start, start + 3)], text=f"{start:.4f}") for s, start in pairs]


class FakeData(Dataset[Any]):
    """``size`` samples; training adds noise from the global generators, as augmentations do."""

    def __init__(self, size: int, split: str, train: bool = False, unreadable: Sequence[int] = ()) -> None:
        self.split = split
        self.train = train
        self.unreadable = set(unreadable)
        self.samples = [
            VideoSample(f"{split}_{i}", f"{i}.mp4", f"query {i}", 30.0, [Moment(i % 10, i % 10 + 5)], dataset="fake")
            for i in range(size)
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        if index in self.unreadable:
            return None
        pixels = torch.full((2, 3, 2, 2), index / len(self)) + torch.arange(3).reshape(1, 3, 1, 1) * 0.1
        if self.train:
            pixels = pixels + 0.01 * torch.rand(1) + 0.01 * random.random()
        return self.samples[index], {"frames": Frames(pixels, [0.0, 1.0])}


class StartError(Metric):
    """Mean error of the start in seconds, and a score that is higher where it is lower."""

    def compute(self) -> dict[str, float]:
        if not self.pairs:
            return {"total": 0}
        errors = [abs(p.moments[0].start - s.moments[0].start) for s, p in self.pairs if s.moments]
        error = sum(errors) / len(errors)
        return {"error": error, "agg_metrics": -error, "total": len(errors)}


def run_config(**settings: Any) -> RunConfig:
    """Settings of a short training; ``settings`` replace some."""
    values: dict[str, Any] = {
        "device": "cpu",
        "batch_size": 2,
        "epochs": 2,
        "learning_rate": 1e-2,
        "log_every": 1,
        "test_splits": [],
        **settings,
    }
    return bind_dataclass(RunConfig, values)


def fake_runner(folder: Path, model: FakeModel | None = None, **settings: Any) -> Runner:
    """A runner on the fakes: 8 samples to learn from, 5 to validate and 3 to test."""
    extra = {key: settings.pop(key) for key in ("train_data", "eval_data") if key in settings}
    run = run_config(**settings)
    engine = Engine(
        device=run.device,
        precision=run.precision,
        eval_precision=run.eval_precision,
        strategy=run.strategy,
        seed=run.seed,
        clip_grad_norm=run.clip_grad_norm,
        zero_stage=run.zero_stage,
        batch_size=run.batch_size,
        ema=run.ema,
        sharded_checkpoints=run.sharded_checkpoints,
        watched=run.hang_timeout is not None,
    )
    engine.prepare(
        model or FakeModel(),
        lambda named: build_optimizer(named, learning_rate=run.learning_rate, weight_decay=run.weight_decay),
    )
    return Runner(
        engine=engine,
        task=Task([StartError()]),
        run=run,
        folder=folder,
        config={"name": "fake", "model": {"name": "fake"}},
        train_data=extra.get("train_data", [FakeData(8, "train", train=True)]),
        eval_data=extra.get("eval_data", {"val": {"fake": FakeData(5, "val")}, "test": {"fake": FakeData(3, "test")}}),
        hooks=build_hooks(run.hooks),
    )
