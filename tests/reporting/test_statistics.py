"""Means over seeds, against scipy's own functions."""

import warnings

import numpy as np
import pytest
from scipy import stats

from kd_lightning.runs.collections.statistics import paired, spread

VALUES = [0.91, 0.934, 0.928, 0.941]
OTHERS = [0.90, 0.921, 0.93, 0.92]


def test_a_spread_has_the_t_interval() -> None:
    found = spread(VALUES)
    assert found is not None
    assert (found.n, found.mean, found.deviation) == (4, np.mean(VALUES), pytest.approx(np.std(VALUES, ddof=1)))
    expected = stats.t.interval(0.95, 3, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert (found.low, found.high) == pytest.approx(expected)


def test_the_paired_test_is_scipys() -> None:
    found = paired(list(zip(VALUES, OTHERS, strict=True)))
    assert found is not None
    expected = stats.ttest_rel(VALUES, OTHERS)
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))


def test_too_few_or_equal_values_say_nothing_of_chance() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert spread([]) is None
        assert paired([]) is None
        one = spread([0.5])
        same = spread([0.1 + 0.2, 0.3])
        constant_gain = paired([(0.5, 0.4), (0.7, 0.6)])
        no_gain = paired([(0.5, 0.5), (0.7, 0.7)])
    assert one is not None
    assert (one.n, one.mean, one.deviation, one.low) == (1, 0.5, None, None)
    assert same is not None
    assert (same.deviation, same.low, same.high) == (0.0, same.mean, same.mean)
    assert constant_gain is not None
    assert constant_gain.p is None
    assert no_gain is not None
    assert (no_gain.difference.mean, no_gain.p) == (0.0, None)


def test_what_is_no_number_is_left_out() -> None:
    found = spread([0.5, float("nan"), 0.7])
    assert found is not None
    assert (found.n, found.mean) == (2, pytest.approx(0.6))
