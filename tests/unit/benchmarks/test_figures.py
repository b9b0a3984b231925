"""Ratios compare round with round, and percentiles are values that were seen."""

from __future__ import annotations

import pytest

from benchmarks.harness.figures import (
    Sample,
    median_figures,
    paired_ratio,
    per_task_us,
    percentile,
)
from benchmarks.harness.goals import Goal


def sample(contestant: str, number: int, **figures: float) -> Sample:
    return Sample("drain", "no-op", contestant, number, figures)


def test_a_ratio_pairs_samples_of_the_same_round() -> None:
    ours = [sample("cifra", 0, cpu=10), sample("cifra", 1, cpu=30), sample("cifra", 2, cpu=20)]
    peers = [sample("peer", 2, cpu=40), sample("peer", 0, cpu=40), sample("peer", 1, cpu=40)]
    ratio = paired_ratio(ours, peers, "cpu")
    assert str(ratio) == "0.50 [0.25-0.75]"
    assert ratio
    assert ratio.pairs == 3


def test_a_round_that_one_side_did_not_finish_is_no_pair() -> None:
    ours = [sample("cifra", 0, cpu=10), sample("cifra", 1, cpu=10)]
    ratio = paired_ratio(ours, [sample("peer", 1, cpu=20)], "cpu")
    assert ratio
    assert (ratio.median, ratio.pairs) == (0.5, 1)
    assert paired_ratio(ours, [], "cpu") is None


def test_a_peer_that_used_nothing_gives_no_ratio() -> None:
    assert paired_ratio([sample("cifra", 0, cpu=1)], [sample("peer", 0, cpu=0)], "cpu") is None
    ours, peers = Sample("", "", "a", 0, {"redis µs": 12}), Sample("", "", "b", 0, {"redis µs": 1})
    assert paired_ratio([ours], [peers], "redis µs") is None


def test_medians_are_taken_figure_by_figure() -> None:
    samples = [sample("cifra", 0, cpu=1, rate=5), sample("cifra", 1, cpu=3)]
    assert median_figures(samples) == {"cpu": 2, "rate": 5}


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, p) for p in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.0], 99) == 7.0


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 50)


def test_cpu_per_task_is_never_negative() -> None:
    assert per_task_us(0.5, 10_000) == pytest.approx(50)
    assert per_task_us(-0.01, 10_000) == 0


def test_a_goal_knows_which_way_is_good() -> None:
    rate = Goal("drain", "no-op", "cifra", "tasks/s", 100)
    cost = Goal("drain", "no-op", "cifra", "worker µs", 100)
    assert (rate.sign, rate.is_met_by(120), rate.is_met_by(80)) == ("≥", True, False)
    assert (cost.sign, cost.is_met_by(80), cost.is_met_by(120)) == ("≤", True, False)
    assert cost.reached([Sample("drain", "no-op", "cifra", 0, {"worker µs": 70})]) == 70
    assert cost.reached([]) is None
