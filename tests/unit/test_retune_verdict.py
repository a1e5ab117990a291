"""The verdict: a paired test that promotes no more often by chance than it says."""

from __future__ import annotations

import builtins
import itertools
import json
import math
import random
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from tuneflow.errors import CorruptError, MissingDependencyError, SpecError
from tuneflow.retune import verdict
from tuneflow.retune.verdict import Comparison, check_test, compare

NAN = math.nan

# Student, "The probable error of a mean" (1908): hours of sleep that two drugs gave to the same
# ten patients. His table has the differences, their mean, 1.58, and odds of .9985 to .0015.
DEXTRO = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
LAEVO = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)

# Fisher, "The design of experiments" (1935), chapter III: Darwin's maize, the heights of fifteen
# pairs in eighths of an inch; of the 32,768 sign flips 863 sums are as large as 314 or larger.
MAIZE = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)


def against_zero(differences, **options):
    return compare([0.0] * len(differences), differences, mode="max", **options)


class TestTextbooks:
    def test_students_sleep_data(self):
        found = compare(DEXTRO, LAEVO, mode="max", confidence=0.99)
        assert found.difference == pytest.approx(1.58)
        assert found.standard_error == pytest.approx(0.38896, abs=1e-5)
        assert found.p_value == pytest.approx(0.002833 / 2, abs=1e-6)
        assert found.n == 10
        assert found.is_better

    def test_fishers_maize(self):
        found = against_zero(MAIZE, test="permutation", confidence=0.95)
        assert found.p_value == 863 / 2**15
        assert found.is_better
        assert not against_zero(MAIZE, test="permutation", confidence=0.98).is_better

    def test_fishers_maize_by_the_t_test(self):
        assert against_zero(MAIZE).p_value == pytest.approx(0.04970 / 2, abs=1e-5)

    def test_a_margin_is_what_the_difference_is_tested_against(self):
        found = compare(DEXTRO, LAEVO, mode="max", margin=1.0)
        expected = stats.ttest_1samp([b - a for a, b in zip(DEXTRO, LAEVO, strict=True)], 1.0)
        assert found.p_value == pytest.approx(expected.pvalue / 2)
        assert not found.is_better
        assert "1.58 ± 0.39, not beyond the margin of 1 with 95% confidence" in found.reason


class TestReasons:
    def test_of_a_promotion_has_difference_seeds_and_p(self):
        assert compare(DEXTRO, LAEVO, mode="max").reason == (
            "the challenger is better by 1.58 ± 0.39 (paired t-test, 10 seeds, p = 0.0014)"
        )

    def test_of_a_refusal_say_what_was_not_enough(self):
        assert against_zero([0.1, -0.2, 0.3]).reason == (
            "the challenger is better by only 0.0667 ± 0.15, not beyond chance with 95% confidence "
            "(paired t-test, 3 seeds, p = 0.35)"
        )

    def test_of_a_worse_challenger_say_so(self):
        assert against_zero([-0.1, -0.2, -0.3]).reason.startswith(
            "the challenger is worse by 0.2 ± 0.058 ("
        )

    def test_of_none_at_all_say_so(self):
        assert against_zero([0.1, -0.1]).reason.startswith("the challenger is neither better nor")


class TestWithoutChance:
    """An objective whose value does not depend on its seed."""

    @pytest.mark.parametrize("test", ["t", "permutation"])
    def test_the_better_one_is_better(self, test):
        found = compare([0.8] * 3, [0.9] * 3, mode="max", test=test, confidence=0.8)
        assert found.is_better
        assert found.p_value is None
        assert found.reason.endswith("is better by 0.1; no value depends on its seed")

    def test_the_same_one_is_not(self):
        assert not compare([0.8] * 3, [0.8] * 3, mode="max").is_better

    def test_the_margin_must_be_exceeded_and_not_met(self):
        def is_better(margin):
            return compare([0.8] * 3, [0.9] * 3, mode="max", margin=margin).is_better

        assert is_better(0.09)
        # 0.9 - 0.8 is a little more than 0.1 only in floating point.
        assert not is_better(0.1)
        assert not is_better(0.11)


class TestEqualDifferences:
    """Values that depend on their seed, and differ by the same with each: a coarse metric."""

    def test_are_left_to_the_exact_test(self):
        few = compare([0.7, 0.8, 0.9], [0.8, 0.9, 1.0], mode="max")
        assert few.p_value == 1 / 8
        assert not few.is_better
        many = compare([0.5, 0.6, 0.7, 0.8, 0.9], [0.6, 0.7, 0.8, 0.9, 1.0], mode="max")
        assert many.p_value == 1 / 32
        assert many.is_better
        assert "paired permutation test, 5 seeds" in many.reason

    def test_that_meet_the_margin_are_not_beyond_it(self):
        found = compare(
            [0.5, 0.6, 0.7, 0.8, 0.9], [0.6, 0.7, 0.8, 0.9, 1.0], mode="max", margin=0.1
        )
        assert found.p_value == 1
        assert not found.is_better


class TestMissingValues:
    @pytest.mark.parametrize("missing", [NAN, math.inf, -math.inf])
    def test_leave_out_the_pair(self, missing):
        whole = compare(DEXTRO[1:], LAEVO[1:], mode="max")
        found = compare([missing, *DEXTRO[1:]], LAEVO, mode="max")
        assert found == whole
        both = compare([missing, *DEXTRO[1:]], [missing, *LAEVO[1:]], mode="max")
        assert both == whole

    def test_of_the_challenger_alone_keep_the_champion(self):
        found = compare(DEXTRO, [NAN, *LAEVO[1:]], mode="max")
        assert not found.is_better
        assert found.reason == (
            "the challenger has no usable value with 1 of 10 seeds, the champion with 0"
        )

    def test_that_leave_one_pair_leave_too_little(self):
        found = compare([1.0, NAN], [2.0, 3.0], mode="max")
        assert not found.is_better
        assert found.reason == "1 seed with usable values of both are too few to compare"
        assert (found.n, found.difference, found.standard_error) == (1, 1.0, None)

    def test_of_all_leave_nothing(self):
        found = compare([NAN] * 3, [NAN] * 3, mode="max")
        assert not found.is_better
        assert (found.n, found.difference, found.p_value) == (0, None, None)

    def test_of_the_whole_champion_keep_it_unless_told_otherwise(self):
        kept = compare([NAN] * 3, [0.9] * 3, mode="max")
        assert not kept.is_better
        assert "no usable value with any of 3 seeds" in kept.reason
        assert "nothing to compare with; it stays unless" in kept.reason
        replaced = compare([NAN] * 3, [0.9] * 3, mode="max", replace_unmeasured=True)
        assert replaced.is_better
        assert replaced.p_value is None

    def test_of_a_challenger_that_is_whole_only_in_part_never_replace(self):
        found = compare([NAN] * 3, [0.9, 0.9, NAN], mode="max", replace_unmeasured=True)
        assert not found.is_better


class TestTheRateOfFalsePromotions:
    """Under the null hypothesis at most 1 - confidence of the challengers is promoted."""

    RUNS = 2000

    def promoted(self, draw, *, seeds, test, confidence, margin=0.0):
        rng = random.Random(f"{seeds} {test} {confidence} {margin}")
        count = 0
        for _ in range(self.RUNS):
            pairs = [draw(rng) for _ in range(seeds)]
            champion, challenger = zip(*pairs, strict=True)
            options = {"test": test, "confidence": confidence, "margin": margin}
            count += compare(champion, challenger, mode="max", **options).is_better
        return count

    def most(self, confidence):
        """More than these are seen once in ten thousand times, if the rate is what it may be."""
        return stats.binom.ppf(1 - 1e-4, self.RUNS, 1 - confidence)

    @pytest.mark.parametrize("confidence", [0.8, 0.95])
    @pytest.mark.parametrize(("seeds", "test"), [(3, "t"), (5, "t"), (5, "permutation")])
    def test_holds_where_noise_is_normal(self, seeds, test, confidence):
        def draw(rng):
            common = rng.gauss(0.9, 0.05)
            return common + rng.gauss(0, 0.01), common + rng.gauss(0, 0.01)

        found = self.promoted(draw, seeds=seeds, test=test, confidence=confidence)
        assert found <= self.most(confidence)
        # It is no test either that never promotes.
        assert found > 0

    @pytest.mark.parametrize("seeds", [2, 3, 5])
    def test_holds_where_a_metric_is_coarse(self, seeds):
        def draw(rng):
            return rng.choice([0.96, 0.97, 0.98]), rng.choice([0.96, 0.97, 0.98])

        found = self.promoted(draw, seeds=seeds, test="t", confidence=0.95)
        assert found <= self.most(0.95)

    def test_holds_where_trials_fail(self):
        def draw(rng):
            def one():
                value = rng.gauss(0.9, 0.01)
                return NAN if value < 0.89 else value

            return one(), one()

        found = self.promoted(draw, seeds=5, test="t", confidence=0.9)
        assert found <= self.most(0.9)

    def test_holds_for_a_challenger_that_is_better_by_the_margin(self):
        def draw(rng):
            return rng.gauss(0.90, 0.01), rng.gauss(0.92, 0.01)

        found = self.promoted(draw, seeds=5, test="t", confidence=0.9, margin=0.02)
        assert 0 < found <= self.most(0.9)

    def test_a_challenger_that_is_much_better_is_found(self):
        def draw(rng):
            return rng.gauss(0.90, 0.01), rng.gauss(0.94, 0.01)

        assert self.promoted(draw, seeds=5, test="t", confidence=0.95) > 0.9 * self.RUNS


values = st.lists(
    st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=9
).map(lambda pairs: tuple(zip(*pairs, strict=True)))
tests = st.sampled_from(["t", "permutation"])


class TestLaws:
    @given(values, tests, st.floats(0, 10), st.sampled_from([0.5, 0.75]))
    def test_turning_metric_and_mode_round_changes_nothing(self, pair, test, margin, confidence):
        options = {"test": test, "margin": margin, "confidence": confidence}
        turned = [[-value for value in one] for one in pair]
        assert compare(*pair, mode="max", **options) == compare(*turned, mode="min", **options)

    @given(values, tests, st.floats(-100, 100))
    def test_shifting_both_changes_nothing(self, pair, test, shift):
        options = {"mode": "max", "test": test, "confidence": 0.75}
        there = compare(*pair, **options)
        shifted = compare(*([value + shift for value in one] for one in pair), **options)
        assert shifted.difference == pytest.approx(there.difference, abs=1e-9)
        if there.p_value is None or shifted.p_value is None:
            return
        assume(abs(there.p_value - 0.25) > 1e-6 and there.standard_error > 1e-9)
        assert shifted.is_better == there.is_better

    @given(values, tests, st.randoms(use_true_random=False))
    def test_the_order_of_the_seeds_changes_nothing(self, pair, test, rng):
        pairs = list(zip(*pair, strict=True))
        there = compare(*pair, mode="max", test=test, confidence=0.75)
        rng.shuffle(pairs)
        again = compare(*zip(*pairs, strict=True), mode="max", test=test, confidence=0.75)
        assert again.p_value == pytest.approx(there.p_value, abs=1e-9)

    @given(values, tests, st.floats(0, 10))
    def test_a_larger_margin_or_confidence_promotes_no_more(self, pair, test, margin):
        strict = compare(*pair, mode="max", test=test, margin=margin, confidence=0.75)
        loose = compare(*pair, mode="max", test=test, margin=0.0, confidence=0.75)
        looser = compare(*pair, mode="max", test=test, margin=0.0, confidence=0.5)
        assert strict.is_better <= loose.is_better <= looser.is_better

    @given(values, tests)
    def test_never_are_both_better_than_the_other(self, pair, test):
        options = {"mode": "max", "test": test, "confidence": 0.75}
        there, back = compare(*pair, **options), compare(*pair[::-1], **options)
        assert not (there.is_better and back.is_better)

    @given(st.lists(st.integers(-10, 10), min_size=2, max_size=8), st.integers(0, 3))
    def test_the_permutation_test_counts_every_sign_flip(self, differences, margin):
        found = against_zero(differences, test="permutation", margin=margin, confidence=0.75)
        assume(found.p_value is not None)
        beyond = [difference - margin for difference in differences]
        sums = [
            sum(sign * one for sign, one in zip(flip, beyond, strict=True))
            for flip in itertools.product((1, -1), repeat=len(beyond))
        ]
        assert found.p_value == sum(one >= sum(beyond) for one in sums) / len(sums)

    @given(values, tests)
    def test_the_json_form_is_read_as_it_was_written(self, pair, test):
        found = compare(*pair, mode="max", test=test, confidence=0.75)
        assert (
            Comparison.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
        )


class TestBadInput:
    @pytest.mark.parametrize(
        ("test", "seeds", "confidence", "said"),
        [
            ("tt", 5, 0.95, "test: 'tt' is no test; did you mean 't'"),
            ("t", 5, 1.0, "confidence: 1.0 is not a number from 0.5 to below 1"),
            ("t", 5, 0.4, "confidence: 0.4"),
            ("t", 5, "high", "confidence: 'high'"),
            ("t", 5, NAN, "confidence: nan"),
            ("t", 1, 0.95, "seeds: with 1 seed the paired t-test is never 95% sure; give 2 or"),
            ("permutation", 4, 0.95, "seeds: with 4 seeds .* never 95% sure; give 5 or more"),
            ("permutation", 9, 0.999, "give 10 or more"),
            ("permutation", 41, 0.95, "41 are more than the 40 of the paired"),
        ],
    )
    def test_is_refused_before_a_trial_runs(self, test, seeds, confidence, said):
        with pytest.raises(SpecError, match=said):
            check_test(test, seeds, confidence)

    @pytest.mark.parametrize(
        ("test", "seeds", "confidence"),
        [("t", 2, 0.999), ("permutation", 5, 0.95), ("permutation", 40, 0.95), ("t", 100, 0.5)],
    )
    def test_is_not_seen_in_what_can_work(self, test, seeds, confidence):
        check_test(test, seeds, confidence)

    def test_without_scipy_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(verdict, "find_spec", lambda name: None)
        with pytest.raises(MissingDependencyError, match=r"tuneflow\[retune\].*'permutation'"):
            check_test("t", 5, 0.95)
        check_test("permutation", 5, 0.95)

    def test_the_permutation_test_needs_no_scipy(self, monkeypatch):
        real = builtins.__import__

        def without_scipy(name, *rest, **more):
            assert not name.startswith("scipy")
            return real(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", without_scipy)
        assert against_zero(MAIZE, test="permutation").is_better

    def test_seeds_must_be_the_same(self):
        with pytest.raises(SpecError, match="the champion has 2 values and the challenger 3"):
            compare([1, 2], [1, 2, 3], mode="max")

    def test_is_named_in_a_stored_comparison(self):
        found = against_zero(MAIZE).to_json()
        del found["p_value"]
        with pytest.raises(CorruptError, match="a comparison has the fields"):
            Comparison.from_json(found)


def test_the_table_of_what_can_be_found_is_right():
    """Each number of it is found with the power that the page states, by the t-test's theory."""
    text = (Path(__file__).parents[2] / "docs" / "retuning.md").read_text()
    table = re.search(r"^\| confidence \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    head, _, *lines = table[0].splitlines()
    seeds = [int(number) for number in re.findall(r"(\d+) seeds", head)]
    assert (len(seeds), len(lines)) == (5, 3)
    for line in lines:
        confidence, *found = map(float, line.strip("| ").split(" | "))
        for n, size in zip(seeds, found, strict=True):
            least = stats.t.ppf(confidence, n - 1)
            power = stats.nct.sf(least, n - 1, size * math.sqrt(n))
            assert power == pytest.approx(0.8, abs=0.01)
