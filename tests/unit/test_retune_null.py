"""A challenger that is no better is not promoted more often than the confidence allows."""

from __future__ import annotations

import pytest

from tests.null_retunes import most_allowed, promotions

COUNT = 30


@pytest.mark.slow
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_an_equal_challenger_is_promoted_no_more_often_than_the_confidence_allows(confidence):
    found = promotions(range(COUNT), confidence=confidence)
    assert found <= most_allowed(COUNT, confidence)


def test_a_worse_challenger_is_not_promoted():
    assert promotions(range(10), confidence=0.8, worse=3.0) == 0


def test_a_better_challenger_is_promoted():
    assert promotions(range(10), worse=-3.0) >= 9
