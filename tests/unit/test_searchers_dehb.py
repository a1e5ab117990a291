"""DEHB's searcher: the populations and the arithmetic of the reference, and valid proposals always.

The numbers of the reference come from dehb 0.1.2 (NumPy 1.26.4): ``DEHB(dimensions=2,
min_fidelity=1, max_fidelity=9, n_workers=1, seed=3)`` was asked for a trial and told its loss,
``(x - 0.3)**2 + (y - 0.6)**2 + 0.3 / level``, forty times. ``DE(dimensions=4,
mutation_factor=0.5, crossover_prob=0.5)`` made offspring with a generator whose draws were noted.
"""

from __future__ import annotations

import itertools
import math

import pytest

from tests.machine import Machine
from tuneflow import schedulers
from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.schedulers import ASHA, FIFO, Start
from tuneflow.schedulers.dehb import brackets
from tuneflow.searchers import DEHB, ConcurrencyLimit
from tuneflow.searchers.cube import Cube
from tuneflow.searchers.dehb_populations import Populations
from tuneflow.searchers.evolution import crossed, inside, mutant
from tuneflow.space import Categorical, Float, Int, Space, branch
from tuneflow.trial import Report

# The reference.

RUN = [
    (0, 1, 0, (0.118240070852, 0.5072252503), 0.341643826),
    (0, 1, 1, (0.47828274927, 0.475013799082), 0.347406289),
    (0, 1, 2, (0.312024983293, 0.502288698438), 0.309692099),
    (0, 1, 3, (0.013039197727, 0.5276434576), 0.387581971),
    (0, 1, 4, (0.19680176266, 0.745758245402), 0.331895342),
    (0, 1, 5, (0.392235296676, 0.623063401823), 0.30903927),
    (0, 1, 6, (0.262670168499, 0.282253770443), 0.402356183),
    (0, 1, 7, (0.085297473841, 0.487691178663), 0.358710446),
    (0, 1, 8, (0.737413005626, 0.616724712032), 0.491609853),
    (0, 3, 0, (0.392235296676, 0.623063401823), 0.10903927),
    (0, 3, 1, (0.312024983293, 0.502288698438), 0.109692099),
    (0, 3, 2, (0.19680176266, 0.745758245402), 0.131895342),
    (0, 9, 0, (0.392235296676, 0.623063401823), 0.042372604),
    (1, 3, 0, (0.392235296676, 0.629186712722), 0.109359214),
    (1, 3, 1, (0.312024983293, 0.719694763683), 0.114471437),
    (1, 3, 2, (0.291376556306, 0.745758245402), 0.12131983),
    (1, 9, 1, (0.312024983293, 0.502288698438), 0.043025432),
    (2, 9, 2, (0.359033767518, 0.447333409738), 0.060125407),
    (2, 9, 0, (0.068772862891, 0.623063401823), 0.087331243),
    (2, 9, 1, (0.312024983293, 0.603937735568), 0.033493439),
    (3, 1, 0, (0.30035401421, 0.514006007922), 0.307395092),
    (3, 1, 1, (0.087660003043, 0.475013799082), 0.360709825),
    (3, 1, 2, (0.540920367912, 0.502288698438), 0.367590122),
    (3, 1, 3, (0.826099352955, 0.514006007922), 0.584175496),
    (3, 1, 4, (0.19680176266, 0.364996335084), 0.365876599),
    (3, 1, 5, (0.587920112843, 0.629402091613), 0.383762474),
    (3, 1, 6, (0.532975789982, 0.282253770443), 0.455240385),
    (3, 1, 7, (0.248577888435, 0.629882126662), 0.303537175),
    (3, 1, 8, (0.159613520905, 0.649378231082), 0.322146573),
    (3, 3, 0, (0.251008117371, 0.623063401823), 0.102932125),
    (3, 3, 1, (0.312024983293, 0.517415370342), 0.106964821),
    (3, 3, 2, (0.202637247202, 0.745758245402), 0.130724972),
    (3, 9, 2, (0.166167331757, 0.447333409738), 0.074551604),
    (4, 3, 0, (0.129394848053, 0.836463591841), 0.185021148),
    (4, 3, 1, (0.408298555457, 0.517415370342), 0.118548798),
    (4, 3, 2, (0.265694511175, 0.414513398958), 0.135582146),
    (4, 9, 0, (0.392235296676, 0.723127905507), 0.057001164),
    (5, 9, 1, (0.152019337491, 0.407338759061), 0.092349964),
    (5, 9, 2, (0.426908159955, 0.447333409738), 0.072746102),
    (5, 9, 0, (0.35325303402, 0.623063401823), 0.036701139),
]
"""Bracket, level, the individual that is challenged, the point, and its loss."""

FITNESS = {
    1: [
        0.307395092,
        0.347406289,
        0.309692099,
        0.387581971,
        0.331895342,
        0.30903927,
        0.402356183,
        0.303537175,
        0.322146573,
    ],
    3: [0.102932125, 0.106964821, 0.12131983],
    9: [0.036701139, 0.033493439, 0.060125407],
}
"""The losses of the populations after that."""

SIZES = {9: {1: 9, 3: 3, 9: 3}, 27: {1: 27, 3: 9, 9: 6, 27: 4}}
SIZES[81] = {1: 81, 3: 27, 9: 9, 27: 6, 81: 5}

PARENTS = [(0.1, 0.9, 0.5, 0.2), (0.3, 0.8, 0.1, 0.95), (0.6, 0.2, 0.9, 0.05)]
MUTANT = (-0.04999999999999999, 1.2000000000000002, 0.09999999999999998, 0.6499999999999999)
TARGET = (0.5, 0.5, 0.5, 0.5)
OFFSPRING = [
    (
        (0.6369616873214543, 0.2697867137638703, 0.04097352393619469, 0.016527635528529094),
        (0.5, 1.2000000000000002, 0.09999999999999998, 0.6499999999999999),
        (0.8132702392002724,),
        (0.5, 0.8132702392002724, 0.09999999999999998, 0.6499999999999999),
    ),
    (
        (0.5118216247002567, 0.9504636963259353, 0.14415961271963373, 0.9486494471372439),
        (0.5, 0.5, 0.09999999999999998, 0.5),
        (),
        (0.5, 0.5, 0.09999999999999998, 0.5),
    ),
    (
        (0.8702492039700847, 0.28681720908755537, 0.6031481500515619, 0.7775340829201788),
        (0.5, 1.2000000000000002, 0.5, 0.5),
        (0.7160746296035653,),
        (0.5, 0.7160746296035653, 0.5, 0.5),
    ),
]
"""The draws of the crossover, what it gives, the draws of the bounds, and what they give."""

PLANE = Space({"a": Float(0, 1), "b": Float(0, 1)})


class Draws:
    """A generator that gives what it is told to."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def random(self):
        return self.draws.pop(0)


def populations(history, most=9, space=PLANE, known=()):
    """Return the populations of a study; they go on with its history."""
    shapes = brackets(1, most, 3)
    return history.index("populations", lambda: Populations(Cube(space), history, shapes, known))


def params(point):
    return dict(zip(PLANE.domains(), point, strict=True))


def run_to(history, level, point, loss, bracket=0):
    """Add a trial; None fails it."""
    number = len(history.trials)
    history.append(Launched(number, 0, level, params=params(point), bracket=bracket))
    if loss is None:
        history.append(Closed(number, "failed"))
    else:
        history.append(Reported(number, Report(level, {"loss": loss})))
        history.append(Closed(number, "paused"))


def replayed(rows):
    """Return the history of these rows of the reference's run."""
    history = History("loss", "min", 0, 9)
    for bracket, level, _, point, loss in rows:
        run_to(history, level, point, loss, bracket)
    return history


class TestReference:
    def test_every_trial_has_the_same_place_and_challenges_the_same_individual(self):
        history = History("loss", "min", 0, 9)
        scheduler, found = schedulers.DEHB(max_resource=9), populations(history)
        for bracket, level, individual, point, loss in RUN:
            assert scheduler.next(history) == Start(level, bracket)
            assert found.at(level).next == individual
            run_to(history, level, point, loss, bracket)

    def test_the_populations_come_to_the_same(self):
        found = populations(replayed(RUN))
        for level, losses in FITNESS.items():
            assert found.at(level).losses == pytest.approx(losses, abs=1e-8)

    def test_the_same_trials_are_promoted(self):
        promoted = 0
        for position, (bracket, level, _, point, _) in enumerate(RUN):
            history = replayed(RUN[:position])
            place = populations(history).places.next()
            if bracket < 3 and place.rung > 0:
                assert DEHB().suggest(PLANE, history, level) == params(point)
                promoted += 1
        assert promoted == 5

    def test_its_offspring_come_from_what_we_take_for_their_parents(self):
        checked = 0
        for position, (bracket, level, individual, point, _) in enumerate(RUN):
            history = replayed(RUN[:position])
            found = populations(history)
            place = found.places.next()
            target = found.at(level).individuals[individual]
            parents = [p for p in found.parents(place.below, place.count) if p != target]
            # Before the second cycle it has individuals that were never evaluated, and draws
            # them otherwise; and where there are fewer than three parents it draws some more.
            if bracket < 3 or len(parents) < 3:
                continue
            mutants = [
                tuple(a + 0.5 * (b - c) for a, b, c in zip(*three, strict=True))
                for three in itertools.permutations(parents, 3)
            ]
            axes = [axis for axis in range(2) if abs(point[axis] - target[axis]) > 1e-9]
            assert axes
            assert any(
                all(
                    # What is out of bounds was drawn anew.
                    abs(one[axis] - point[axis]) < 1e-9 or not 0 <= one[axis] <= 1
                    for axis in axes
                )
                for one in mutants
            )
            checked += 1
        assert checked > 9

    @pytest.mark.parametrize(("most", "sizes"), SIZES.items())
    def test_the_populations_have_the_same_sizes(self, most, sizes):
        found = populations(History("loss", "min", 0, most), most)
        assert {level: len(found.at(level).individuals) for level in sizes} == sizes

    def test_the_mutant_is_the_same(self):
        found = mutant(TARGET, [TARGET, *PARENTS], 0.5, Draws(0.0, 0.0, 0.0))
        assert found == pytest.approx(MUTANT, abs=1e-15)

    @pytest.mark.parametrize(("draws", "offspring", "redraws", "repaired"), OFFSPRING)
    def test_crossover_and_bounds_are_the_same(self, draws, offspring, redraws, repaired):
        found = crossed(TARGET, MUTANT, 0.5, Draws(*draws))
        assert found == offspring
        assert inside(found, Draws(*redraws)) == repaired


class TestEvolution:
    def test_the_three_parents_are_different_ones(self):
        parents = [(1.0,), (10.0,), (100.0,)]
        rng = generator(0)
        found = {mutant((5.0,), parents, 0.5, rng)[0] for _ in range(100)}
        expected = {a + 0.5 * (b - c) for a, b, c in itertools.permutations([1.0, 10.0, 100.0])}
        assert found == expected

    def test_random_individuals_stand_in_for_parents_that_are_missing(self):
        found = mutant((1.0,), [(1.0,), (2.0,)], 0.5, Draws(0.5, 0.25, 0.0, 0.0, 0.0))
        assert found == (2.0 + 0.5 * (0.5 - 0.25),)

    def test_an_offspring_has_something_of_the_mutant(self):
        assert crossed((0.1, 0.2, 0.3), (0.7, 0.8, 0.9), 0.0, Draws(0, 0, 0, 0.5)) == (
            0.1,
            0.8,
            0.3,
        )

    def test_a_space_without_a_choice_is_no_problem(self):
        assert crossed((), (), 0.5, Draws()) == ()
        space, history = Space({"n": Int(3, 3)}), History("loss", "min", 0, 9)
        assert DEHB().suggest(space, history, 1) == {"n": 3}


class TestPopulations:
    def test_the_lowest_rung_of_the_first_bracket_is_random(self):
        history = History("loss", "min", 0, 9)
        found, searcher = populations(history), DEHB()
        for position in range(9):
            expected = found.at(1).individuals[position]
            proposed = searcher.suggest(PLANE, history, 1)
            assert tuple(proposed.values()) == pytest.approx(expected)
            run_to(history, 1, proposed.values(), float(position))

    def test_a_worse_challenger_changes_nothing_and_an_equal_one_wins(self):
        history = replayed(RUN[:9])
        population = populations(history).at(1)
        before, losses = list(population.individuals), list(population.losses)
        run_to(history, 1, (0.11, 0.12), losses[0] + 0.1)
        assert population.individuals == before
        run_to(history, 1, (0.21, 0.22), losses[1])
        assert population.individuals[1] == pytest.approx((0.21, 0.22))
        assert population.losses == losses

    @pytest.mark.parametrize("loss", [None, math.nan, math.inf, -math.inf])
    def test_a_useless_result_changes_nothing(self, loss):
        history = History("loss", "min", 0, 9)
        population = populations(history).at(1)
        before = list(population.individuals)
        run_to(history, 1, (0.5, 0.5), loss)
        assert population.individuals == before
        assert population.begun == 1

    def test_a_larger_metric_is_better_in_mode_max(self):
        history = History("loss", "max", 0, 9)
        for position in range(9):
            run_to(history, 1, (position / 10, 0.5), float(position))
        assert populations(history).parents(1, 2) == [
            pytest.approx((0.8, 0.5)),
            pytest.approx((0.7, 0.5)),
        ]

    def test_nothing_is_promoted_twice_to_a_level(self):
        history = History("loss", "min", 0, 9)
        for position in range(9):
            run_to(history, 1, (position / 10, 0.5), float(position))
        seen = []
        for _ in range(3):
            proposed = DEHB().suggest(PLANE, history, 3)
            seen.append(proposed["a"])
            number = len(history.trials)
            history.append(Launched(number, 0, 3, params=proposed))
        assert seen == [0.0, 0.1, 0.2]

    def test_known_results_are_what_populations_begin_with(self):
        known = [
            {"params": {"a": 0.1, "b": 0.2}, "value": 3.0},
            {"params": {"a": 0.3, "b": 0.4}, "value": 1.0},
        ]
        history = History("loss", "min", 0, 9)
        individuals = populations(history, known=known).at(9).individuals
        assert individuals[:2] == [pytest.approx((0.3, 0.4)), pytest.approx((0.1, 0.2))]
        assert len(individuals) == 3
        searcher = DEHB(known_results=tuple(known))
        assert searcher.suggest(PLANE, history, 1) == {"a": 0.3, "b": 0.4}

    def test_what_runs_is_not_proposed_again(self):
        space = Space({"n": Int(0, 2), "c": Categorical(("a", "b"))})
        history, searcher, seen = History("loss", "min", 0, 9), DEHB(), []
        for number in range(6):
            proposed = searcher.suggest(space, history, 1)
            seen.append(tuple(proposed.values()))
            history.append(Launched(number, 0, 1, params=proposed))
        assert len(set(seen)) == 6


class TestStudies:
    SPACE = Space(
        {
            "x": Float(0, 1),
            "lr": Float(1e-4, 1, log=True),
            "b": branch({"u": {"n": Int(1, 9)}, "v": {}}),
        }
    )

    def test_the_pair_keeps_to_its_laws_and_finds_the_minimum(self):
        scheduler = schedulers.DEHB(max_resource=27)
        budget = Budget(max_failures_per_trial=1)
        machine = Machine(
            scheduler, slots=5, space=self.SPACE, searcher=DEHB(), trials=300, budget=budget
        )
        history = machine.history

        def curve(trial, level):
            if trial % 40 == 0:
                fresh = DEHB().suggest(self.SPACE, machine.rebuilt(), level)
                assert machine.study.searcher.suggest(self.SPACE, history, level) == fresh
            if trial % 11 == 0:
                return None
            found = history.trials[trial].params
            distance = (found["x"] - 0.3) ** 2 + (math.log10(found["lr"]) / 4 + 0.4) ** 2
            return distance + 0.1 * (found["b"]["type"] == "v") + 0.3 / level

        machine.run(curve)
        assert all(self.SPACE.contains(trial.params) for trial in history.trials)
        best = history.best().params
        assert best["b"]["type"] == "u"
        assert abs(best["x"] - 0.3) < 0.03
        assert abs(math.log10(best["lr"]) / 4 + 0.4) < 0.1

    @pytest.mark.parametrize("scheduler", [FIFO(max_resource=5), ASHA(max_resource=9)])
    def test_beside_another_scheduler_it_is_plain_differential_evolution(self, scheduler):
        machine = Machine(scheduler, slots=4, space=PLANE, searcher=DEHB(), trials=250)
        history = machine.history

        def curve(trial, level):
            found = history.trials[trial].params
            return (found["a"] - 0.3) ** 2 + (found["b"] - 0.6) ** 2 + 0.1 / level

        best = machine.run(curve).best().params
        assert abs(best["a"] - 0.3) < 0.03
        assert abs(best["b"] - 0.6) < 0.03

    def test_other_resources_need_only_the_same_numbers_on_both_sides(self):
        searcher = DEHB(min_resource=0.1, reduction_factor=2)
        scheduler = schedulers.DEHB(max_resource=0.8, min_resource=0.1, reduction_factor=2)
        machine = Machine(scheduler, slots=1, space=PLANE, searcher=searcher)
        history = machine.run(lambda trial, level: trial)
        promoted = [trial for trial in history.trials if trial.bracket == 0 and trial.until == 0.2]
        # The best of the eight trials of the lowest rung were the first ones.
        assert [trial.params for trial in promoted] == [
            trial.params for trial in history.trials[:4]
        ]

    @pytest.mark.parametrize("field", ["min_resource", "reduction_factor"])
    def test_halves_that_differ_make_no_study(self, field):
        scheduler = schedulers.DEHB(max_resource=9, **{field: 2})
        problem = f"searcher.{field}: [13] is not the 2 that the scheduler 'dehb' has"
        for searcher in (DEHB(), ConcurrencyLimit(searcher=DEHB(), most=2)):
            with pytest.raises(SpecError, match=problem):
                Machine(scheduler, space=PLANE, searcher=searcher)

    def test_beside_another_scheduler_nothing_need_be_the_same(self):
        Machine(ASHA(max_resource=9, min_resource=3), trials=1, space=PLANE, searcher=DEHB())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mutation_factor", -0.1),
        ("mutation_factor", 2.5),
        ("crossover_probability", 1.5),
        ("crossover_probability", math.nan),
        ("min_resource", 0),
        ("reduction_factor", 1),
        ("reduction_factor", "3"),
    ],
)
def test_what_makes_no_sense_is_refused(field, value):
    with pytest.raises(SpecError, match=f"searcher.{field}"):
        DEHB(**{field: value})
