"""The data that drifts really does, and slowly enough for the past to be of use."""

from __future__ import annotations

import statistics

from tests.drifting import EPOCHS, SPACE, drifting_digits, training

GOOD = {"lr": 0.2, "momentum": 0.5, "decay": 1e-4}


def loss(week, noise):
    train = training(week)
    curves = [list(train({**GOOD, "noise": noise, "seed": seed})) for seed in range(3)]
    assert {len(curve) for curve in curves} == {EPOCHS}
    return statistics.fmean(curve[-1]["loss"] for curve in curves)


def test_the_best_configuration_moves_and_an_old_one_is_worse_than_it_was_but_not_bad():
    early = {noise: loss(0, noise) for noise in (0.3, 0.5, 0.8)}
    late = {noise: loss(6, noise) for noise in (0.3, 0.5, 0.8)}
    assert min(early, key=early.get) == 0.5
    assert min(late, key=late.get) == 0.8
    assert early[0.5] < late[0.8] < late[0.5] < late[0.3] < 2.3


def test_the_data_and_a_run_follow_from_week_and_seed():
    config = {**GOOD, "noise": 0.5, "seed": 3}
    assert SPACE.contains({name: config[name] for name in SPACE.nodes})
    assert next(training(1)(config)) == next(training(1)(config))
    assert next(training(1)(config)) != next(training(1)({**config, "seed": 4}))
    assert (drifting_digits(1).valid != drifting_digits(2).valid).all()


def test_a_run_that_diverges_says_so_and_warns_nobody(recwarn):
    last = list(training(0)({**GOOD, "lr": 1e2, "noise": 0.5, "seed": 0}))[-1]
    assert not last["accuracy"] > 0.5
    assert not recwarn.list
