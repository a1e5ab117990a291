"""The laws that every searcher keeps, as a test suite to inherit from."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneflow.errors import SpecError
from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.plugins import build
from tuneflow.rng import generator
from tuneflow.searchers.base import LATER, Searcher, sampled
from tuneflow.space import Float, Space
from tuneflow.testing.played import ENDINGS, METRIC, ending, history_of, play, value_of
from tuneflow.testing.spaces import spaces
from tuneflow.trial import Mode, Params, Report

__all__ = ["ENDINGS", "METRIC", "SearcherSuite", "ending", "play"]


class SearcherSuite(ABC):
    """Checks a searcher against the laws of `tuneflow.searchers.base.Searcher`.

    Inherit from it in a test module, with a name that pytest collects:

        class TestMine(SearcherSuite):
            def make(self, **given):
                return Mine(**given)

    Needs pytest and hypothesis.
    """

    countable: ClassVar[bool] = False
    """Whether the searcher takes only spaces with countable values."""

    conditional: ClassVar[bool] = True
    """Whether the searcher takes spaces with branches."""

    repeats: ClassVar[bool] = False
    """Whether the searcher may propose a configuration again among continuous values."""

    trials: ClassVar[int] = 16
    """How many trials a study of the suite has. The searcher should be past its start by then."""

    examples: ClassVar[int] = 8
    """How many studies hypothesis makes for each law."""

    @abstractmethod
    def make(self, **given: Any) -> Searcher:
        """Return a new searcher; ``given`` are arguments that every searcher has."""

    # The laws.

    def test_every_proposal_lies_in_the_space(self) -> None:
        """Conditional and nested spaces too, whatever became of the trials before."""

        def law(space: Space, endings: Sequence[str]) -> None:
            for params in self._play(self.make(), space, _history(), endings):
                problem = space.explain(params)
                _hold(problem is None, f"{params} lies outside {space}: {problem}")

        self._for_all(law, self._spaces(), _ENDING_LISTS)

    def test_the_same_seed_gives_the_same_proposals(self) -> None:
        """Two studies with the same seed and the same results do not differ."""

        def law(space: Space, endings: Sequence[str], seed: int) -> None:
            first = self._play(self.make(), space, _history(seed), endings)
            second = self._play(self.make(), space, _history(seed), endings)
            _hold(first == second, f"seed {seed} gave {first} and then {second}")

        self._for_all(law, self._spaces(), _ENDING_LISTS, _SEEDS)

    def test_a_rebuilt_history_gives_the_same_proposal(self) -> None:
        """A searcher that was made anew over the recorded facts goes on as the old one would."""

        def law(space: Space, endings: Sequence[str]) -> None:
            live, searcher = _history(), self.make()
            for _ in range(4):
                self._play(searcher, space, live, endings, self.trials // 4)
                rebuilt = _history()
                rebuilt.extend(live.facts)
                expected, found = (
                    searcher.suggest(space, live),
                    self.make().suggest(space, rebuilt),
                )
                _hold(expected == found, f"{expected} became {found} when the history was rebuilt")

        self._for_all(law, self._spaces(), _ENDING_LISTS)

    def test_a_proposal_that_is_not_launched_leaves_no_trace(self) -> None:
        """Asking is free: it may happen any number of times, and the answer be thrown away."""

        def law(space: Space) -> None:
            asked, plain = _history(), _history()
            searcher, other = self.make(), self.make()
            for number in range(self.trials):
                searcher.suggest(space, asked)
                for history in (asked, plain) if number else ():
                    history.append(Closed(number - 1, "completed"))
                first, second = searcher.suggest(space, asked), other.suggest(space, plain)
                _hold(first == second, f"a proposal that was not used made {first} of {second}")
                if first is None or first is LATER:
                    return
                for history in (asked, plain):
                    history.append(Launched(number, 0, None, params=first))
                    history.append(Reported(number, Report(1, {METRIC: value_of(space, first)})))

        self._for_all(law, self._spaces())

    def test_running_trials_are_not_proposed_again(self) -> None:
        """Among continuous values no two of many pending trials are the same."""
        if self.countable or self.repeats:
            return
        space = Space({"x": Float(0, 1), "y": Float(1e-3, 1, log=True)})
        for endings in (("silent",), ("completed",) * 12 + ("silent",) * 60):
            proposed = self._play(self.make(), space, _history(), endings)
            repeated = [params for params in proposed if proposed.count(params) > 1]
            _hold(not repeated, f"{repeated} were proposed again while they ran")

    def test_unusable_results_do_no_harm(self) -> None:
        """A study in which every trial fails, or says NaN or nothing, still gets proposals."""

        def law(space: Space, ending: str) -> None:
            searcher = self.make()
            proposed = self._play(searcher, space, _history(), [ending])
            _hold(all(map(space.contains, proposed)), f"{proposed} are not all in {space}")
            expected = _count(searcher, space, self.trials)
            _hold(len(proposed) == expected, f"there were {len(proposed)}, not {expected}")

        self._for_all(law, self._spaces(), st.sampled_from(["failed", "nan", "missing", "retried"]))

    def test_given_points_come_first(self) -> None:
        """They are proposed in their order, and completed where they leave something out."""

        def law(space: Space, seed: int) -> None:
            points = [_drawn(space, seed, number) for number in range(3)]
            partial = dict(itertools.islice(points[2].items(), 1))
            searcher = self.make(points_to_evaluate=(points[0], points[1], partial))
            searcher.check(space)
            proposed = self._play(searcher, space, _history(), ["completed"])
            _hold(proposed[:2] == points[:2], f"{points[:2]} were given, {proposed[:2]} came")
            _hold(partial.items() <= proposed[2].items(), f"{partial} became {proposed[2]}")
            _hold(all(map(space.contains, proposed)), f"{proposed} are not all in {space}")

        self._for_all(law, self._spaces(), _SEEDS)

    def test_known_results_are_accepted(self) -> None:
        """Results from elsewhere are no trials and break nothing."""

        def law(space: Space, values: Sequence[float], seed: int) -> None:
            known = tuple(
                {"params": _drawn(space, seed, number), "value": value}
                for number, value in enumerate(values)
            )
            searcher = self.make(known_results=known)
            searcher.check(space)
            proposed = self._play(searcher, space, _history(), ["completed", "silent"])
            _hold(all(map(space.contains, proposed)), f"{proposed} are not all in {space}")

        values = st.lists(st.floats(-5, 5), min_size=1, max_size=6)
        self._for_all(law, self._spaces(), values, _SEEDS)

    def test_minimising_and_maximising_agree(self) -> None:
        """To maximise the negated metric is the same study."""

        def law(space: Space, endings: Sequence[str]) -> None:
            low = self._play(self.make(), space, _history(mode="min"), endings)
            high = self._play(self.make(), space, _history(mode="max"), endings)
            _hold(low == high, f"minimising proposed {low}, maximising {high}")

        self._for_all(law, self._spaces(), _ENDING_LISTS)

    def test_several_metrics_keep_the_laws(self) -> None:
        """A searcher that takes them draws from the space, repeats itself, and knows both modes."""
        if self._takes(metrics=2, bounds=0):
            self._check_goals(("min", "max"), bounded=False)

    def test_constraints_keep_the_laws(self) -> None:
        """They may be heeded or ignored, be broken, or be bounds on what is never reported."""
        if self._takes(metrics=1, bounds=1):
            self._check_goals(("min",), bounded=True)

    def test_several_metrics_with_constraints_keep_the_laws(self) -> None:
        """Both at once."""
        if self._takes(metrics=2, bounds=1):
            self._check_goals(("max", "min"), bounded=True)

    def test_it_ends_when_it_says_and_for_good(self) -> None:
        """There are as many proposals as `trials` says; after that, or before, never None."""

        def law(space: Space) -> None:
            searcher, history = self.make(), _history()
            most = 4 * self.trials
            expected = _count(searcher, space, most)
            proposed = self._play(searcher, space, history, ["completed", "silent"], most)
            _hold(len(proposed) == expected, f"there were {len(proposed)}, not {expected}")
            if expected < most:
                for number in list(history.running):
                    history.append(Closed(number, "failed"))
                _hold(searcher.suggest(space, history) is None, "it began again after the end")

        self._for_all(law, self._spaces())

    def test_its_json_form_makes_the_same_searcher(self) -> None:
        """What a study file says of it is all that it is."""
        searcher = self.make(points_to_evaluate=({"x": 0.5},))
        fields = searcher.to_json()
        named = fields.pop("type")
        _hold(named == searcher.type, f"{named} is not {searcher.type}")
        again = build(type(searcher), fields, "searcher")
        _hold(again.to_json() == searcher.to_json(), f"{searcher} became {again}")

    # How they are checked.

    def _takes(self, metrics: int, bounds: int) -> bool:
        try:
            self.make().check_goals(metrics, bounds)
        except SpecError:
            return False
        return True

    def _check_goals(self, modes: tuple[Mode, ...], *, bounded: bool) -> None:
        count = self.trials * 3 // 4
        opposite: tuple[Mode, ...] = tuple("max" if mode == "min" else "min" for mode in modes)

        def law(space: Space, endings: Sequence[str]) -> None:
            history, mirrored = history_of(modes, bounded), history_of(opposite, bounded)
            proposed = self._play(self.make(), space, history, endings, count)
            again = self._play(self.make(), space, mirrored, endings, count)
            _hold(all(map(space.contains, proposed)), f"{proposed} are not all in {space}")
            _hold(proposed == again, f"{modes} proposed {proposed}, {opposite} {again}")
            rebuilt = history_of(modes, bounded)
            rebuilt.extend(history.facts)
            searcher = self.make()
            expected, found = searcher.suggest(space, history), self.make().suggest(space, rebuilt)
            _hold(expected == found, f"{expected} became {found} when the history was rebuilt")

        self._for_all(law, self._spaces(), _ENDING_LISTS, examples=max(1, self.examples // 2))

    def _spaces(self) -> st.SearchStrategy[Space]:
        return spaces(countable=self.countable, conditional=self.conditional)

    def _for_all(
        self,
        law: Callable[..., None],
        *strategies: st.SearchStrategy[Any],
        examples: int | None = None,
    ) -> None:
        # Made here, as hypothesis does not like one test to run in several classes.
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
        count = examples or self.examples
        some = settings(max_examples=count, deadline=None, suppress_health_check=checks)
        some(given(*strategies)(law))()

    def _play(
        self,
        searcher: Searcher,
        space: Space,
        history: History,
        endings: Sequence[str],
        count: int | None = None,
    ) -> list[Params]:
        """Go on with a study and return what was proposed."""
        return list(play(searcher, space, history, endings, count or self.trials))


_SEEDS: Final = st.integers(0, 2**63)

_ENDING_LISTS: Final = st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=8)


def _history(seed: int = 0, mode: Mode = "min") -> History:
    return History(METRIC, mode, seed)


def _drawn(space: Space, seed: int, number: int) -> Params:
    return space.build(sampled(generator(seed, "point", number)))


def _count(searcher: Searcher, space: Space, most: int) -> int:
    """Return how many proposals there must be in a study of ``most`` trials."""
    end = searcher.trials(space)
    return most if end is None else min(end, most)


def _hold(condition: bool, problem: str) -> None:
    """Fail a test with a sentence; an assert would not say as much outside of a test module."""
    if not condition:
        raise AssertionError(problem)
