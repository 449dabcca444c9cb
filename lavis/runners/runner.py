"""The training loop, kept short: data, forward, sum of the losses, backward, accumulate, clip, step, hooks.

Source: the runner of LAVIS (Li et al., 2022; salesforce/LAVIS) as used by CALCE. Unlike it: works in one process and on
a CPU, resumes exactly and anywhere, validates and tests with the best weights, and treats accumulation as an average
unless told to add up (``accumulation``, ``leftover``), which is what CALCE's published weights were trained with.
"""

from __future__ import annotations

import hashlib
import io
import math
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lavis.common import distributed, liveness
from lavis.common.checkpoint import read_checkpoint, save_checkpoint
from lavis.common.io import append_jsonl
from lavis.common.logging import Progress as Bar
from lavis.common.logging import get_logger
from lavis.runners.checkpoints import checkpoints, named, newest_whole, step_of
from lavis.runners.data import any_batch, train_loader
from lavis.runners.evaluation import LoaderSettings, SplitEvaluator, answering, digest, weights_digest, write_metrics
from lavis.runners.failures import Interrupted, LossGuard, RunError, StopRequest, memory_advice
from lavis.runners.hooks import Hook
from lavis.runners.optim import Accumulation, set_rate
from lavis.runners.saver import Saver, on_main
from lavis.runners.schedules import Schedule, build_schedule
from lavis.runners.state import Progress, capture, hook_states, restore, save_parts

if TYPE_CHECKING:
    from lavis.common.schema import RunConfig
    from lavis.runners.engine import Engine
    from lavis.structures import Batch
    from lavis.tasks.base import Task

DEBUG_BATCHES = 7
EvalData = Mapping[str, Mapping[str, Dataset[Any]]]
logger = get_logger(__name__)


@dataclass(slots=True)
class StepRecord:
    """One iteration, for hooks: ``epoch`` and ``step`` from 0, ``losses`` by name, the rate, and more ``facts``."""

    epoch: int
    step: int
    global_step: int
    losses: Mapping[str, Tensor]
    rate: float
    facts: dict[str, float] = field(default_factory=dict)


class Runner:
    """Trains and evaluates one model.

    Args:
        engine: holds the prepared model and, for training, its optimizer.
        task: predicts and scores.
        run: settings.
        folder: of the run, such as ``results/calce/qvh_stage1``.
        config: resolved configuration, saved with weights and part of the fingerprint of predictions.
        train_data: data sets to learn from, one after the other.
        eval_data: split to data set name to data set.
        hooks: called in order.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        task: Task,
        run: RunConfig,
        folder: Path,
        config: Mapping[str, Any],
        train_data: Sequence[Dataset[Any]] = (),
        eval_data: EvalData | None = None,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self.engine = engine
        self.task = task
        self.run = run
        self.folder = folder
        self.config = dict(config)
        self.eval_data: EvalData = eval_data or {}
        self.hooks = list(hooks)
        self.progress = Progress()
        self.figures: dict[str, float] = {}
        self.bar: Bar[Any] | None = None
        self.bar_seconds = 30.0
        self.stop = StopRequest()
        self.saver = Saver(
            folder / "checkpoints", keep=run.keep_checkpoints, keep_every=run.keep_every, beside=run.async_save
        )
        self._save_asked: set[str] = set()
        self._saved: tuple[int, str] | None = None
        self._pending = False
        self._spare: Batch | None = None
        self.guard = LossGuard(run.on_nonfinite, run.max_skips)
        self.learning = bool(train_data)
        if train_data:
            self.epochs = 1 if run.debug else run.epochs
            self.loader, self.sampler = train_loader(
                train_data,
                batch_size=run.batch_size,
                num_workers=run.num_workers,
                seed=run.seed,
                start_method=run.worker_start,
            )
            self.schedule = self._schedule()
            self.accumulation = Accumulation(run.accumulate, self.sampler.batches, run.accumulation, run.leftover)

    @property
    def latest(self) -> Path | None:
        """The newest checkpoint, ``None`` before the first."""
        found = checkpoints(self.saver.folder)
        return found[-1] if found else None

    @property
    def global_batch(self) -> int:
        """Samples of all processes in one iteration."""
        return self.run.batch_size * distributed.world_size()

    @property
    def best(self) -> Path:
        """Where the best weights lie."""
        return self.folder / "checkpoints" / "best.safetensors"

    def train(self) -> dict[str, dict[str, float]]:
        """Trains, validates, and evaluates the test splits; goes on with an interrupted training.

        Returns:
            metrics of the test splits by ``<dataset>_<split>``.

        Raises:
            RunError: if the loss is no number, memory runs out, or the final state cannot be saved.
            Interrupted: after a stop, the state being saved.
        """
        assert self.engine.model is not None
        self._resume()
        self.engine.model.train()
        with self.stop, self.saver:
            self._call("start")
            while True:
                if self._validation_due():
                    self._validate()
                if self.finished:
                    break
                self._train_epoch()
            if self.progress.best is None:
                self.save_best("last epoch: there was no validation")
            self.saver.wait()
            results = self._test()
            self._call("end")
        return results

    @property
    def finished(self) -> bool:
        """Whether all iterations are done."""
        return self.progress.epoch >= self.epochs or self.progress.global_step >= self._limit

    def evaluate(
        self, splits: Sequence[str], folder: Path | None = None, weights: str = "given"
    ) -> dict[str, dict[str, float]]:
        """Predictions and metrics of splits, with the weights the model has now.

        Args:
            splits: names of splits.
            folder: of the predictions; by default ``predictions`` of the run.
            weights: what to call them in the log.
        """
        assert self.engine.model is not None
        names = [f"{dataset}_{split}" for split in splits for dataset in self.eval_data.get(split, {})]
        if not names:
            return {}
        with self.engine.averaged():
            state = weights_digest(self.engine.model)
        results = {}
        for split in splits:
            for dataset, data in self.eval_data.get(split, {}).items():
                name = f"{dataset}_{split}"
                logger.info("evaluating %s with the %s weights", name, weights)
                fingerprint = digest([state, answering(self.config, dataset), self.engine.eval_precision])
                evaluator = SplitEvaluator(
                    name, data, folder or self.folder / "predictions", self._eval_settings(), self.stop
                )
                results[name] = evaluator.run(self.engine, self.task, fingerprint)
                self._call("evaluated", name, results[name])
        return results

    def save_best(self, reason: str) -> None:
        """Writes the weights that learn as the best ones; every process must call."""
        weights = self.engine.weights(everywhere=False, averaged=True)
        facts = {
            "epoch": self.progress.best_epoch or self.progress.epoch,
            "chosen_by": reason,
            "frozen_weights": self.config.get("model", {}).get("weights"),
        }
        try:
            on_main(lambda: save_checkpoint(self.best, weights, config=self.config, metadata=facts))
        except OSError as error:
            raise RunError(
                f"the best weights were not saved: {error}. Make room and start again: the training resumes at its "
                "last checkpoint, and what the validation answered is kept"
            ) from error

    def ask_save(self, *, required: bool = False, renew: bool = False) -> None:
        """Asks for a checkpoint after the event under way; every process must ask.

        Args:
            required: if it cannot be written, the run ends with an error rather than go on.
            renew: only bring the newest one up to date, if it is of this iteration.
        """
        self._save_asked.add("required" if required else "renew" if renew else "save")

    def save(self, required: bool = False) -> None:
        """Writes all that is needed to resume; every process must call."""
        self.saver.wait()
        self._check()
        if self._newest_is_current():
            self.saver.renew(asdict(self.progress))
            return
        snapshot = capture(
            self.engine,
            self.schedule,
            self.progress,
            global_batch=self.global_batch,
            pending=self._pending,
            hooks=self.hooks,
            copied=self.run.async_save and not required,
        )
        self.saver.save(snapshot, lambda folder: save_parts(self.engine, folder), required=required)
        self._saved = self._mark()

    def _newest_is_current(self) -> bool:
        """Whether the newest checkpoint was written at this iteration, and no hook has counted on since."""
        newest = self.saver.newest
        there = newest is not None and step_of(newest) == self.progress.global_step and self._saved == self._mark()
        return not distributed.any_rank(not there)

    def _mark(self) -> tuple[int, str]:
        content = io.BytesIO()
        torch.save(hook_states(self.hooks), content)
        return self.progress.global_step, hashlib.sha256(content.getvalue()).hexdigest()

    @property
    def _limit(self) -> float:
        limit = math.inf if self.run.max_steps is None else self.run.max_steps
        return min(limit, DEBUG_BATCHES) if self.run.debug else limit

    def _validation_due(self) -> bool:
        progress = self.progress
        if progress.validated == progress.global_step:
            return False
        return self.finished or (progress.step == 0 and progress.epoch % self.run.eval_every == 0)

    def _validate(self) -> None:
        try:
            self._call("validate")
        except Interrupted:
            self.save(required=True)  # run.save_every may have passed over this epoch
            raise

    def _train_epoch(self) -> None:
        """Trains to the end of the epoch, or to the last iteration wanted."""
        progress = self.progress
        self.sampler.set_position(progress.epoch, progress.step)
        self.bar = Bar(
            self._batches(),
            f"epoch {progress.epoch + 1}/{self.epochs}",
            total=self.sampler.batches,
            done=progress.step,
            every=self.bar_seconds,
        )
        unreadable = 0
        for batch in self.bar:
            unreadable += batch is None
            self._iteration(batch)
            if progress.global_step >= self._limit:
                break
        self._check()
        if unreadable == self.sampler.batches:
            any_batch(self.loader)  # an epoch of nothing must not pass for training
        if progress.step >= self.sampler.batches:
            progress.epoch, progress.step = progress.epoch + 1, 0
        self._call("trained")

    def _iteration(self, batch: Batch | None) -> None:
        progress = self.progress
        rate = self.schedule.rate(progress.epoch, progress.step)
        set_rate(self.engine.optimizer, rate)
        last = self.accumulation.ends_step(progress.step)
        record = StepRecord(progress.epoch, progress.step, progress.global_step, {}, rate)
        weight = self.accumulation.weight(progress.step)
        if batch is None and distributed.world_size() > 1:
            # The others wait for this process's gradients, so it contributes nothing rather than stay away.
            batch, weight = self._spare or any_batch(self.loader), 0.0
        if batch is not None:
            with self.engine.accumulating(last), memory_advice(batch, training=True):
                record.losses = self._backward(batch, weight)
            self.guard.add(record.losses, [sample.id for sample in batch.samples])
            self._pending = True
            self._spare = batch if distributed.world_size() > 1 else None
        if last:
            self._check()
            if self._pending:
                self._step(record)
            self._pending = False
        progress.step += 1
        progress.global_step += 1
        self._call("step", record)
        if last:
            self.saver.poll()
        self._stop_if_asked(last)

    def _batches(self) -> Iterator[Batch | None]:
        """Batches of the epoch; a loader process killed by the signal that stops the run is no fault."""
        try:
            first = f"epoch {self.progress.epoch + 1}, iteration "
            done = self.progress.step + 1
            yield from liveness.each(self.loader, lambda n: f"{first}{done + n}", "what follows an epoch")
        except RuntimeError:
            if self.stop.number is None:
                raise
            if distributed.world_size() == 1:
                self._stop_if_asked(True)
            self.stop.check()

    def _backward(self, batch: Batch, weight: float) -> dict[str, Tensor]:
        losses = self.engine.losses(batch.to(self.engine.device))
        self.engine.backward(torch.stack(list(losses.values())).sum() * weight)
        return {name: value.detach() for name, value in losses.items()}

    def _step(self, record: StepRecord) -> None:
        norm = self.engine.step()
        if norm is not None:
            record.facts["grad_norm"] = norm
            if self.engine.scaler is None and not math.isfinite(norm):
                self._drop(self.guard.bad_gradient(norm, self._where))
                return
        self.progress.skipped_in_a_row = 0

    def _check(self) -> None:
        """Deals with losses since the last call that are no numbers: stops, or drops the gradients they are part of."""
        fault = self.guard.fault(self._where)
        if fault is not None:
            self._drop(fault)

    def _drop(self, fault: str) -> None:
        self.engine.drop_step()
        self._pending = False
        progress = self.progress
        progress.skipped, progress.skipped_in_a_row = progress.skipped + 1, progress.skipped_in_a_row + 1
        logger.warning("%s; these gradients are dropped, the %d. time", fault, progress.skipped)
        if distributed.is_main():
            row = {"step": progress.global_step + 1, "epoch": progress.epoch, "skipped_steps": progress.skipped}
            try:
                append_jsonl(self.folder / "metrics.jsonl", [{**row, "reason": fault}])
            except OSError as error:
                logger.error("%s; the dropped step is counted in the checkpoint all the same", error)
        self.guard.check_budget(progress.skipped_in_a_row, fault)

    @property
    def _where(self) -> str:
        return f"epoch {self.progress.epoch + 1}, iteration {self.progress.step + 1}"

    def _stop_if_asked(self, agreed: bool) -> None:
        """Saves and stops; several processes agree on it, which costs a message, at optimizer steps only."""
        asked = self.stop.number is not None
        if distributed.world_size() > 1:
            asked = agreed and distributed.any_rank(asked)
        if asked:
            self._check()
            self.save(required=True)
            logger.warning("stopped at iteration %d; start again to resume", self.progress.global_step)
            self.stop.number = self.stop.number or signal.SIGTERM
            self.stop.check()

    def _test(self) -> dict[str, dict[str, float]]:
        splits = self.run.test_splits
        which = self.run.test_weights
        if which == "best" and self.eval_data and splits:
            self.engine.load_weights(read_checkpoint(self.best).state)
        results = self.evaluate(splits, weights=which)
        write_metrics(self.folder / "metrics.json", results)
        return results

    def _resume(self) -> None:
        wanted = distributed.broadcast_object(self.run.resume)
        if wanted == "never":
            self.saver.clear()
            return
        self.saver.tidy()
        found = on_main(lambda: newest_whole(self.saver.folder) if wanted == "auto" else named(Path(wanted)))
        if found is None:
            return
        folder, manifest = found
        self.progress = restore(
            folder, manifest, self.engine, self.schedule, global_batch=self.global_batch, hooks=self.hooks
        )
        if folder.parent == self.saver.folder and int(manifest["processes"]) == distributed.world_size():
            self.saver.newest, self._saved = folder, self._mark()
        if not self.best.is_file():
            self.progress.best = self.progress.best_epoch = None
        self._pending = any(p.grad is not None for p in self.engine.model.parameters())  # type: ignore[union-attr]
        logger.info(
            "resuming at epoch %d, iteration %d, from %s", self.progress.epoch + 1, self.progress.global_step, folder
        )

    def _schedule(self) -> Schedule:
        run = self.run
        return build_schedule(
            run.schedule,
            learning_rate=run.learning_rate,
            min_learning_rate=run.min_learning_rate,
            warmup_steps=run.warmup_steps,
            warmup_learning_rate=run.warmup_learning_rate,
            epochs=max(1, run.epochs),
            steps_per_epoch=self.sampler.batches,
            accumulate=run.accumulate,
        )

    def _eval_settings(self) -> LoaderSettings:
        run = self.run
        return LoaderSettings(
            batch_size=run.eval_batch_size or (None if run.eval_batch_tokens else run.batch_size),
            batch_tokens=run.eval_batch_tokens,
            num_workers=run.num_workers,
            seed=run.seed,
            start_method=run.worker_start,
            max_batches=DEBUG_BATCHES if run.debug else None,
        )

    def _call(self, event: str, *arguments: Any) -> None:
        for hook in self.hooks:
            getattr(hook, event)(self, *arguments)
        asked, self._save_asked = self._save_asked, set()
        if asked:
            self.saver.wait()
        newest = self.saver.newest
        of_now = newest is not None and step_of(newest) == self.progress.global_step
        if asked - {"renew"} or (asked and of_now):
            self.save(required="required" in asked)
