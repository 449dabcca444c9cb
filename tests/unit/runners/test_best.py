"""The best weights: what the file tells, and a training that lost it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.checkpoint import CheckpointError, read_checkpoint
from lavis.runners.runner import Runner
from tests.fake_run import fake_runner

Maker = Callable[..., Runner]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    made: list[Runner] = []

    def build(figures: list[float], folder: str = "run", **settings: Any) -> Runner:
        """A runner whose validations give these figures, one after the other."""
        made.append(fake_runner(tmp_path / folder, **settings))
        left = iter(figures)
        made[-1].task.evaluate = lambda samples, predictions: {"agg_metrics": next(left)}  # type: ignore[method-assign]
        return made[-1]

    yield build
    for runner in made:
        runner.engine.close()


def lost(runner: Runner) -> bytes:
    """Removes the best weights; what was in the file."""
    content = runner.best.read_bytes()
    runner.best.unlink()
    return content


@pytest.mark.parametrize("more", [{}, {"ema": 0.5}, {"max_steps": 7}])
def test_written_again_from_a_checkpoint_that_has_them(
    make: Maker, caplog: pytest.LogCaptureFixture, more: dict[str, Any]
) -> None:
    whole = make([1.0, 2.0], **more)
    whole.train()
    assert read_checkpoint(whole.best).metadata["chosen_by"] == "agg_metrics 2 on val"
    before = lost(whole)
    again = make([], **more)
    again.train()
    assert again.best.read_bytes() == before
    assert "best.safetensors is not there; written from" in caplog.text


def test_the_last_weights_do_not_pass_for_the_best(make: Maker) -> None:
    whole = make([2.0, 1.0])
    whole.train()
    lost(whole)
    message = (
        r"best\.safetensors is not there: the weights of epoch 1, agg_metrics 2 on val; .*step_000008 has those of "
        r"iteration 8\. Put the file back.*evaluate the last weights with run\.test_weights=last, take the last "
        r"weights as the best with run\.resume=.*step_000008, or begin anew with run\.resume=never"
    )
    again = make([])
    with pytest.raises(CheckpointError, match=message):
        again.train()
    assert not again.best.exists()


def test_a_second_validation_within_the_epoch_of_the_best_is_another(make: Maker) -> None:
    whole = make([2.0, 1.0], max_steps=6)  # after the first epoch, and within the second, which is called epoch 1 too
    whole.train()
    assert whole.progress.best_epoch == whole.progress.epoch == 1
    lost(whole)
    with pytest.raises(CheckpointError, match="is not there"):
        make([], max_steps=6).train()


def test_an_unfinished_training_does_not_choose_among_what_is_left(make: Maker) -> None:
    part = make([2.0, 1.0], epochs=2)
    part.train()
    lost(part)
    with pytest.raises(CheckpointError, match=r"Put the file back if you can; else take what is best from there on"):
        make([], epochs=3).train()
    onward = make([0.5], epochs=3, resume=str(part.latest))
    onward.train()
    assert (onward.progress.best, onward.progress.best_epoch) == (0.5, 3)


def test_the_ways_out_that_the_message_names(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    whole = make([2.0, 1.0])
    whole.train()
    lost(whole)
    last = make([9.0], test_weights="last", test_splits=["test"])
    assert last.train()["fake_test"]["agg_metrics"] == 9
    assert not last.best.exists()
    assert "which are evaluated since run.test_weights is last" in caplog.text
    taken = make([], resume=str(whole.latest))
    taken.train()
    assert read_checkpoint(taken.best).metadata["chosen_by"] == "last epoch: no validation chose others"
    final = read_checkpoint(whole.latest / "weights.safetensors").state  # type: ignore[operator]
    assert all(torch.equal(tensor, final[name]) for name, tensor in read_checkpoint(taken.best).state.items())
    lost(taken)
    anew = make([2.0, 1.0], resume="never")
    anew.train()
    assert anew.progress.best_epoch == 1
    assert anew.best.is_file()
