"""The training loop, kept short: data, forward, sum of the losses, backward, accumulate, clip, step, hooks.

Source: the runner of LAVIS (Li et al., 2022; salesforce/LAVIS) as used by CALCE. Unlike it: works in one process and on
a CPU, resumes exactly and anywhere, validates and tests with the best weights, and treats accumulation as an average
unless told to add up (``accumulation``, ``leftover``), which is what CALCE's published weights were trained with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from lavis.common import distributed, liveness
from lavis.common.checkpoint import read_checkpoint
from lavis.common.logging import Progress as Bar
from lavis.common.logging import get_logger
from lavis.runners.best import BestWeights
from lavis.runners.checkpoints import checkpoints, read_manifest, step_of
from lavis.runners.costs import counter
from lavis.runners.data import any_batch, train_loader
from lavis.runners.devices import pinned
from lavis.runners.evaluation import LoaderSettings, SplitEvaluator, answering, digest, weights_digest, write_metrics
from lavis.runners.failures import Interrupted, LossGuard, StopRequest
from lavis.runners.hooks.base import Hook, StepRecord
from lavis.runners.optim import Accumulation, set_rate
from lavis.runners.resuming import Resuming
from lavis.runners.saver import Saver
from lavis.runners.schedules import schedule_for
from lavis.runners.state import Progress
from lavis.runners.steps import Steps

if TYPE_CHECKING:
    from lavis.common.schema import RunConfig
    from lavis.runners.engine import Engine
    from lavis.structures import Batch
    from lavis.tasks.base import Task

DEBUG_BATCHES = 7
EvalData = Mapping[str, Mapping[str, Dataset[Any]]]
logger = get_logger(__name__)


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
        self.best_weights = BestWeights(self.saver.folder, run, self.config)
        self._save_asked: set[str] = set()
        self.learning = bool(train_data)
        if train_data:
            self.epochs = 1 if run.debug else run.epochs
            self.loader, self.sampler = train_loader(
                train_data,
                batch_size=run.batch_size,
                remainder=run.remainder,
                tokens=run.batch_tokens,
                count=counter(engine.model),
                group_by_modality=run.group_by_modality,
                num_workers=run.num_workers,
                seed=run.seed,
                start_method=run.worker_start,
                prefetch=run.prefetch_factor,
                persistent=run.persistent_workers,
                pin=pinned(run.pin_memory, engine.device),
            )
            self.schedule = schedule_for(run, self.sampler.batches)
            self.steps = Steps(
                engine,
                self._accumulation(),
                LossGuard(run.on_nonfinite, run.max_skips),
                any_batch=lambda: any_batch(self.loader),
                curves=folder / "metrics.jsonl",
            )
            self.resuming = Resuming(
                engine, self.schedule, self.hooks, self.saver, global_batch=self.global_batch, beside=run.async_save
            )

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
        return self.best_weights.file

    def train(self) -> dict[str, dict[str, float]]:
        """Trains, validates, and evaluates the test splits; goes on with an interrupted training.

        Returns:
            metrics of the test splits by ``<dataset>_<split>``.

        Raises:
            RunError: if the loss is no number, memory runs out, or the final state cannot be saved.
            CheckpointError: if what it would go on with is torn, does not fit, or lacks its best weights.
            Interrupted: after a stop, the state being saved.
        """
        assert self.engine.model is not None
        self._call("check")
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
                self.save_best()
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
        if not any(self.eval_data.get(split) for split in splits):
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

    def save_best(self) -> None:
        """Writes the weights that learn as the best ones; every process must call."""
        self.best_weights.save(self.engine, self.progress)

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
        self.steps.check(self.progress)
        self.resuming.save(self.progress, pending=self.steps.pending, required=required)

    def _accumulation(self) -> Accumulation:
        """Optimizer steps of the epoch."""
        run = self.run
        return Accumulation(
            run.accumulate, self.sampler.batches, run.accumulation, run.leftover, self.sampler.mean_size
        )

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
        self.steps.accumulation = self._accumulation()
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
        self.steps.check(progress)
        if unreadable == self.sampler.batches:
            any_batch(self.loader)  # an epoch of nothing must not pass for training
        if progress.step >= self.sampler.batches:
            progress.epoch, progress.step = progress.epoch + 1, 0
        self._call("trained")

    def _iteration(self, batch: Batch | None) -> None:
        progress = self.progress
        rate = self.schedule.rate(progress.epoch, progress.step)
        set_rate(self.engine.optimizer, rate)
        record = StepRecord(progress.epoch, progress.step, progress.global_step, {}, rate)
        ended = self.steps.learn(batch, record, progress)
        progress.step += 1
        progress.global_step += 1
        self._call("step", record)
        if ended:
            self.saver.poll()
        self._stop_if_asked(ended)

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

    def _stop_if_asked(self, agreed: bool) -> None:
        """Saves and stops; several processes agree on it at optimizer steps only, where ``agreed`` is true."""
        if self.stop.wanted(agreed):
            self.save(required=True)
            logger.warning("stopped at iteration %d; start again to resume", self.progress.global_step)
            self.stop.now()

    def _test(self) -> dict[str, dict[str, float]]:
        splits = self.run.test_splits
        which = self.run.test_weights
        if which == "best" and self.eval_data and splits:
            self.engine.load_weights(read_checkpoint(self.best).state)
        results = self.evaluate(splits, weights=which)
        write_metrics(self.folder / "metrics.json", results)
        return results

    def _resume(self) -> None:
        found = self.resuming.resume(self.run.resume)
        if found is None:
            return
        folder, self.progress = found
        self.sampler.check_position(self.progress.step, int(read_manifest(folder)["processes"]))
        self.steps.pending = any(p.grad is not None for p in self.engine.model.parameters())  # type: ignore[union-attr]
        self.best_weights.recover(self.engine, self.progress, folder, finished=self.finished)

    def _eval_settings(self) -> LoaderSettings:
        run = self.run
        return LoaderSettings(
            batch_size=run.eval_batch_size or (None if run.eval_batch_tokens else run.batch_size),
            batch_tokens=run.eval_batch_tokens,
            num_workers=run.num_workers,
            seed=run.seed,
            start_method=run.worker_start,
            prefetch=run.prefetch_factor,
            pin=pinned(run.pin_memory, self.engine.device),
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
