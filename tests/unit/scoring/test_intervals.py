"""Bootstrap over videos: against loops, deterministic, clustered, quick."""

from __future__ import annotations

import time

import numpy as np
import pytest

from lavis.scoring.base import Array, Derived, Estimate, Scored
from lavis.scoring.intervals import bootstrap, draws, percentiles, point_estimates, resampled


def scored(**estimates: Estimate | Derived) -> Scored:
    return Scored({}, dict.fromkeys(estimates, 0.0), dict(estimates))


def clusters(count: int, size: int = 3) -> tuple[list[str], list[str]]:
    return [str(n) for n in range(count)], [f"v{n // size}" for n in range(count)]


def values(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(count)


def test_like_drawing_videos_one_at_a_time() -> None:
    ids, videos = clusters(30)
    drawn = values(30)
    drawn[[2, 7, 8]] = np.nan
    found = resampled({"x": Estimate(drawn)}, ["x"], ids, videos, repeats=50, seed=3)["x"]
    names = sorted(set(videos))
    weights = np.concatenate(list(draws(len(names), 50, seed=3)))
    for resample, value in zip(weights, found, strict=True):
        rows = [drawn[row] for name, times in zip(names, resample, strict=True) for row in range(30)
                if videos[row] == name for _ in range(int(times))]  # fmt: skip
        assert 100 * np.nanmean(rows) == pytest.approx(value)


def test_each_resample_holds_as_many_videos() -> None:
    weights = np.concatenate(list(draws(17, 40, seed=1)))
    assert weights.shape == (40, 17)
    assert (weights.sum(axis=1) == 17).all()
    assert abs(weights.mean() - 1) < 1e-12
    assert weights.var() == pytest.approx(1, abs=0.2)


def test_draws_do_not_depend_on_the_size_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(draws(20, 30, seed=0)))
    monkeypatch.setattr("lavis.scoring.intervals._CELLS", 100)
    assert np.array_equal(np.concatenate(list(draws(20, 30, seed=0))), whole)


def test_deterministic_and_independent_of_row_order() -> None:
    ids, videos = clusters(60)
    hits = values(60)
    first = bootstrap(scored(x=Estimate(hits)), ids, videos)
    order = np.random.default_rng(5).permutation(60)
    again = bootstrap(scored(x=Estimate(hits[order])), [ids[i] for i in order], [videos[i] for i in order])
    assert first == again
    assert bootstrap(scored(x=Estimate(hits)), ids, videos, seed=1) != first


def test_close_to_the_normal_interval() -> None:
    ids, videos = clusters(900, size=1)
    hits = values(900)
    low, high = bootstrap(scored(x=Estimate(hits)), ids, videos)["x"]
    half = 1.96 * 100 * hits.std() / 30
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
    assert (high + low) / 2 == pytest.approx(100 * hits.mean(), abs=half / 10)


def test_queries_of_one_video_that_agree_widen_the_interval() -> None:
    each = values(100)
    alone = bootstrap(scored(x=Estimate(each)), *clusters(100, 1))["x"]
    ids, videos = clusters(400, 4)
    together = bootstrap(scored(x=Estimate(np.repeat(each, 4))), ids, videos)["x"]
    naive = bootstrap(scored(x=Estimate(np.repeat(each, 4))), *clusters(400, 1))["x"]
    assert together == pytest.approx(alone)
    assert together[1] - together[0] > 1.7 * (naive[1] - naive[0])


def test_constant_values_have_no_width() -> None:
    low, high = bootstrap(scored(x=Estimate(np.full(30, 0.3))), *clusters(30))["x"]
    assert low == pytest.approx(30)
    assert high == pytest.approx(30)


def test_derived_figures_are_computed_in_each_resample() -> None:
    estimates = {
        "a": Estimate(values(60)),
        "b": Estimate(values(60, seed=1), scale=1.0),
        "mean": Derived(("a", "b"), lambda a, b: (a + 100 * b) / 2),
        "twice": Derived(("mean",), lambda mean: 2 * mean),
    }
    ids, videos = clusters(60)
    found = resampled(estimates, list(estimates), ids, videos, repeats=100)
    assert found["mean"] == pytest.approx((found["a"] + 100 * found["b"]) / 2)
    assert found["twice"] == pytest.approx(2 * found["mean"])
    points = point_estimates(scored(**estimates), ids, videos)
    assert points["twice"] == pytest.approx(points["a"] + 100 * points["b"])


def test_figures_without_queries_have_no_interval() -> None:
    nobody = scored(x=Estimate(np.full(9, np.nan)), y=Estimate(values(9)))
    assert set(bootstrap(nobody, *clusters(9))) == {"y"}
    rare = values(9)
    rare[1:] = np.nan  # some resamples hold no query of it
    low, high = bootstrap(scored(x=Estimate(rare)), *clusters(9))["x"]
    assert low == pytest.approx(100 * rare[0])
    assert high == pytest.approx(100 * rare[0])


def test_own_rows_of_a_protocol_go_first() -> None:
    found = scored(x=Estimate(values(4)))
    found.ids, found.videos = ["a/1", "a/2", "b/1", "b/2"], ["a", "a", "b", "b"]
    assert set(bootstrap(found, ["a", "b"], ["a", "b"])) == {"x"}


def test_percentiles() -> None:
    assert percentiles(np.arange(101.0), level=0.9) == pytest.approx((5, 95))
    assert percentiles(np.array([np.nan, 1.0])) == (1.0, 1.0)
    assert percentiles(np.array([np.nan])) is None


def test_mistakes_of_a_protocol_are_told() -> None:
    with pytest.raises(AssertionError, match="x is derived from gone"):
        bootstrap(scored(x=Derived(("gone",), lambda gone: gone)), *clusters(3))
    with pytest.raises(AssertionError, match="derived from itself"):
        bootstrap(scored(x=Derived(("x",), lambda x: x)), *clusters(3))


def test_quick() -> None:
    ids, videos = clusters(1550, 1)
    found = scored(**{f"f{n}": Estimate(values(1550, seed=n)) for n in range(30)})
    start = time.process_time()
    assert len(bootstrap(found, ids, videos)) == 30
    assert time.process_time() - start < 1.0
