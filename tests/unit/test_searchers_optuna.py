"""The searchers that ask Optuna: the samplers, what they are shown, and what they cost nobody."""

from __future__ import annotations

import math
import pickle
import statistics
import sys
import warnings

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial, TrialState

from tuneflow.errors import MissingDependencyError, SpecError
from tuneflow.events import Closed, Finished, Launched, Opened, Reported, Stopped
from tuneflow.history import History
from tuneflow.plugins import make
from tuneflow.searchers import TPE, Optuna, Random, optuna_samplers
from tuneflow.searchers.optuna_axes import Axes, axis
from tuneflow.searchers.optuna_storage import DraftStorage
from tuneflow.searchers.optuna_view import HistoryView
from tuneflow.space import Categorical, Float, Grid, Int, Normal, Space, branch
from tuneflow.testing.searchers import ENDINGS, play
from tuneflow.trial import Failure, Report
from tuneflow.trial import TrialState as Ours

SQUARE = Space({"x": Float(-1, 1), "y": Float(-1, 1)})
MIXED = Space(
    {
        "lr": Float(1e-4, 1, log=True),
        "n": Int(1, 64, log=True),
        "opt": branch({"sgd": {"momentum": Float(0, 1)}, "adam": {}}),
        "act": Categorical(("relu", "gelu", None)),
        "q": Float(0, 1, q=0.25),
    }
)
SAMPLERS = {
    "tpe": TPE(),
    "random": Optuna(sampler="random"),
    "cmaes": Optuna(sampler="cmaes"),
    "qmc": Optuna(sampler="qmc"),
    "halton": Optuna(sampler="qmc", options={"qmc_type": "halton"}),
    "nsgaii": Optuna(sampler="nsgaii", options={"population_size": 8}),
    "nsgaiii": Optuna(sampler="nsgaiii", options={"population_size": 8}),
}


def view_of(facts, *, mode="min", limit=None, known=(), space=SQUARE):
    """Return what Optuna would see of these facts."""
    view = HistoryView(
        Axes(space),
        History("loss", mode, 0, limit),
        lambda _: optuna.samplers.RandomSampler(),
        known=known,
    )
    for fact in facts:
        view.apply(fact)
    return view


def launched(number=0, x=0.5, **more):
    return Launched(number, 0, None, params={"x": x, "y": 0.0}, **more)


def reported(resource, value, number=0):
    return Reported(number, Report(resource, {"loss": value}))


class TestWhatSamplersSee:
    def test_a_running_trial_is_running_with_its_parameters(self):
        [trial] = view_of([launched(), reported(1, 3.0)]).trials
        assert trial.state is TrialState.RUNNING
        assert trial.params == {"x": 0.5, "y": 0.0}
        assert trial.intermediate_values == {1: 3.0}
        assert trial.value is None

    def test_a_completed_trial_has_its_newest_value(self):
        facts = [launched(), reported(1, 3.0), reported(2, 2.0), Closed(0, "completed")]
        [trial] = view_of(facts).trials
        assert (trial.state, trial.value) == (TrialState.COMPLETE, 2.0)

    def test_a_trial_at_the_maximum_resource_is_complete(self):
        [trial] = view_of([launched(), reported(9, 3.0), Closed(0, "paused")], limit=9).trials
        assert trial.state is TrialState.COMPLETE

    @pytest.mark.parametrize("status", ["paused", "stopped"])
    def test_a_trial_that_ended_early_is_pruned_at_the_level_it_reached(self, status):
        [trial] = view_of([launched(), reported(3, 2.5), Closed(0, status)], limit=9).trials
        assert (trial.state, trial.value, trial.last_step) == (TrialState.PRUNED, 2.5, 3)

    def test_values_are_in_the_unit_of_the_study(self):
        view = view_of([launched(), reported(1, 0.9), Closed(0, "completed")], mode="max")
        assert view.trials[0].value == 0.9

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_an_unusable_value_is_passed_over(self, value):
        facts = [launched(), reported(1, 3.0), reported(2, value), Closed(0, "paused")]
        [trial] = view_of(facts).trials
        assert (trial.state, trial.value, trial.last_step) == (TrialState.PRUNED, 3.0, 1)

    @pytest.mark.parametrize("metrics", [{"loss": math.nan}, {"other": 1.0}])
    def test_a_trial_without_a_usable_value_has_failed(self, metrics):
        facts = [launched(), Reported(0, Report(1, metrics)), Closed(0, "paused")]
        [trial] = view_of(facts).trials
        assert (trial.state, trial.value) == (TrialState.FAIL, None)

    def test_a_failed_trial_has_failed_whatever_it_reported(self):
        facts = [launched(), reported(1, 3.0), Closed(0, "failed", Failure("OOM", "no"))]
        [trial] = view_of(facts).trials
        assert (trial.state, trial.value) == (TrialState.FAIL, None)

    def test_a_resumed_trial_is_not_lied_about(self):
        facts = [launched(), reported(1, 3.0), Closed(0, "paused"), Launched(0, 1, None, start=1)]
        [trial] = view_of(facts).trials
        assert (trial.state, trial.value, trial.last_step) == (TrialState.PRUNED, 3.0, 1)
        [trial] = view_of([*facts, reported(2, 2.0)]).trials
        assert (trial.state, trial.value, trial.last_step) == (TrialState.PRUNED, 2.0, 2)

    def test_a_resumed_trial_without_a_value_runs(self):
        facts = [launched(), reported(1, math.nan), Closed(0, "paused"), Launched(0, 1, None)]
        [trial] = view_of(facts).trials
        assert (trial.state, trial.value) == (TrialState.RUNNING, None)

    def test_a_trial_that_waits_for_a_retry_is_still_pending(self):
        [trial] = view_of([launched(), Closed(0, "lost", retry=True)]).trials
        assert trial.state is TrialState.RUNNING

    @pytest.mark.parametrize("fact", [Stopped(0, "budget"), Finished("budget")])
    def test_a_retry_that_will_not_come_ends_the_trial(self, fact):
        facts = [launched(), reported(1, 3.0), Closed(0, "lost", retry=True), fact]
        assert view_of(facts).trials[0].state is TrialState.PRUNED

    def test_a_clone_has_its_new_parameters_and_not_its_old_value(self):
        facts = [launched(), reported(1, 3.0), Closed(0, "paused")]
        view = view_of([*facts, Launched(0, 1, None, params={"x": -0.5, "y": 0.0}, source=0)])
        [trial] = view.trials
        assert trial.params["x"] == -0.5
        assert trial.intermediate_values == {}

    def test_known_results_come_before_the_first_trial(self):
        known = [{"params": {"x": 0.1, "y": 0.2}, "value": 7}]
        view = view_of([launched()], known=known)
        first, second = view._storage.trials
        assert (first.number, first.state, first.value) == (0, TrialState.COMPLETE, 7.0)
        assert (second.number, second.params["x"]) == (1, 0.5)

    def test_a_known_result_without_a_usable_value_has_failed(self):
        view = view_of([], known=[{"params": {"x": 0.1, "y": 0.2}, "value": math.nan}])
        assert view._storage.trials[0].state is TrialState.FAIL

    @given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=10), st.booleans())
    @settings(max_examples=40, deadline=None)
    def test_it_agrees_with_the_history(self, endings, finished):
        history = History("loss", "min", 0, 2)
        list(play(Random(), SQUARE, history, endings, len(endings)))
        history.append(Finished("enough") if finished else Opened(1))
        seen = view_of(history.facts, limit=2).trials
        assert [trial.state for trial in seen] == [expected(history, t) for t in history.trials]

    def test_every_trial_is_one_that_optuna_would_accept(self):
        history = History("loss", "min", 0)
        list(play(Random(), MIXED, history, ENDINGS, 40))
        for trial in view_of(history.facts, space=MIXED).trials:
            again = optuna.trial.create_trial(
                state=trial.state,
                value=trial.value,
                params=trial.params,
                distributions=trial.distributions,
            )
            assert again.params == trial.params


def expected(history, trial):
    """Return the state that Optuna is to see, by the history's own account."""
    is_known = history.trial_loss(trial) < math.inf
    if trial.state is Ours.RUNNING and trial.segment and is_known:
        return TrialState.PRUNED
    if trial.state is Ours.RUNNING or trial.number in history.retries:
        return TrialState.RUNNING
    if trial.state is Ours.FAILED or not is_known:
        return TrialState.FAIL
    return TrialState.COMPLETE if trial.state is Ours.COMPLETED else TrialState.PRUNED


class TestStorage:
    def test_a_sampler_cannot_write_to_a_trial_of_the_study(self):
        storage = DraftStorage(maximize=[False])
        storage.add({}, {})
        with pytest.raises(RuntimeError, match="nothing else"):
            storage.set_trial_system_attr(0, "note", 1)

    def test_notes_of_a_forgotten_draft_are_gone(self):
        storage = DraftStorage(maximize=[False])
        storage.create_new_trial(0)
        storage.set_study_system_attr(0, "note", 1)
        assert storage.get_study_system_attrs(0) == {"note": 1}
        storage.forget()
        assert storage.get_study_system_attrs(0) == {}

    def test_notes_of_an_adopted_draft_stay(self):
        storage = DraftStorage(maximize=[False])
        number = storage.create_new_trial(0)
        storage.set_study_system_attr(0, "of the study", 1)
        storage.set_trial_system_attr(number, "of the trial", 2)
        assert storage.adopt() == {"of the trial": 2}
        assert storage.get_study_system_attrs(0) == {"of the study": 1}


DOMAINS = [
    Float(-1, 1),
    Float(1e-5, 10, log=True),
    Float(0.1, 0.35, step=0.1),
    Float(0.1, 0.29999999999, step=0.1),
    Float(1, 100, log=True, step=0.5),
    Float(0, 1, q=0.3),
    Int(-3, 3),
    Int(-5, 6, step=4),
    Int(1, 10**6, log=True),
    Int(1, 99, log=True, step=7),
    Int(3, 20, q=5),
    Int(2**60, 2**60 + 9),
    Int(-(2**60), 2**60),
    Categorical((True, 1, 1.0, None, "a", [1, {"b": 2}])),
    Grid((0.1, "x")),
    Normal(1, 2),
    Normal(0, 1, q=0.5),
]


class TestAxes:
    @pytest.mark.parametrize("domain", DOMAINS, ids=repr)
    @given(st.floats(0, 1, exclude_max=True))
    @settings(max_examples=30, deadline=None)
    def test_a_value_goes_to_optuna_and_comes_back(self, domain, unit):
        value = domain.from_unit(unit)
        mapped = axis(domain)
        encoded = mapped.encode(value)
        assert mapped.distribution._contains(mapped.distribution.to_internal_repr(encoded))
        back = mapped.suggest(FixedTrial({"p": encoded}), "p")
        assert type(back) is type(value)
        assert back == pytest.approx(value) if isinstance(value, float) else back == value
        assert domain.contains(back)

    @pytest.mark.parametrize("domain", DOMAINS, ids=repr)
    def test_whatever_optuna_draws_lies_in_the_domain(self, domain):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(1))
        for _ in range(30):
            assert domain.contains(axis(domain).suggest(study.ask(), "p"))

    def test_values_that_python_takes_for_equal_stay_apart(self):
        mapped = axis(Categorical((True, 1, 1.0)))
        assert [mapped.encode(value) for value in (True, 1, 1.0)] == [0, 1, 2]


class TestProposals:
    @pytest.mark.parametrize("name", SAMPLERS)
    @pytest.mark.parametrize("space", [SQUARE, MIXED], ids=["square", "mixed"])
    def test_after_forty_trials_a_rebuilt_history_goes_on_the_same(self, name, space):
        searcher, live = SAMPLERS[name], History("loss", "min", 9)
        list(play(searcher, space, live, ENDINGS, 40))
        rebuilt = History("loss", "min", 9)
        rebuilt.extend(live.facts)
        anew = make("searcher", searcher.to_json())
        for endings in (["completed"], ["paused"]):
            went_on = list(play(searcher, space, live, endings, 3))
            assert list(play(anew, space, rebuilt, endings, 3)) == went_on

    @pytest.mark.parametrize("name", ["cmaes", "nsgaii", "qmc"])
    def test_notes_are_the_same_when_an_asked_trial_was_launched_later(self, name):
        searcher, live = SAMPLERS[name], History("loss", "min", 9)
        list(play(searcher, SQUARE, live, ["completed", "reporting"], 20))
        searcher.suggest(SQUARE, live)
        live.append(Closed(1, "completed"))
        list(play(searcher, SQUARE, live, ["completed"], 10))
        rebuilt = History("loss", "min", 9)
        rebuilt.extend(live.facts)
        assert searcher.suggest(SQUARE, rebuilt) == searcher.suggest(SQUARE, live)

    @pytest.mark.parametrize("name", SAMPLERS)
    def test_another_seed_gives_other_proposals(self, name):
        first, second = (
            list(play(SAMPLERS[name], SQUARE, History("loss", "min", seed), ["completed"], 12))
            for seed in (1, 2)
        )
        assert all(a != b for a, b in zip(first, second, strict=True))

    def test_quasi_random_points_are_one_sequence(self):
        searcher, history = SAMPLERS["qmc"], History("loss", "min", 4)
        drawn = list(play(searcher, SQUARE, history, ["completed"], 17))[1:]
        quarters = {int((point["x"] + 1) * 8) for point in drawn}
        assert len(quarters) == 16

    def test_known_results_count_for_the_start_of_the_model(self):
        space = Space({"x": Float(-1, 1)})
        results = [(x / 20 - 1, (x / 20 - 1.7) ** 2) for x in range(41)]
        known = tuple({"params": {"x": x}, "value": value} for x, value in results)
        taught = TPE(known_results=known)
        first = [taught.suggest(space, History("loss", "min", seed))["x"] for seed in range(20)]
        assert statistics.median(abs(x - 0.7) for x in first) < 0.2

    def test_two_searchers_on_one_history_do_not_meet(self):
        history, alone = History("loss", "min"), History("loss", "min")
        list(play(TPE(), SQUARE, alone, ["completed"], 14))
        list(play(TPE(), SQUARE, history, ["completed"], 7))
        Optuna(sampler="cmaes").suggest(SQUARE, history)
        list(play(TPE(), SQUARE, history, ["completed"], 7))
        assert [t.params for t in history.trials] == [t.params for t in alone.trials]

    def test_nothing_is_printed_and_nobodys_settings_change(self, capfd):
        before = optuna.logging.get_verbosity()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for searcher in SAMPLERS.values():
                list(play(searcher, SQUARE, History("loss", "min"), ["completed", "paused"], 14))
        captured = capfd.readouterr()
        assert captured.out + captured.err == ""
        assert optuna.logging.get_verbosity() == before

    def test_tpe_finds_a_better_point_than_random_search(self):
        space = Space({name: Float(0, 1) for name in "abcd"})

        def best(searcher, seed):
            history = History("loss", "min", seed)
            for number in range(60):
                params = searcher.suggest(space, history)
                value = sum((x - 0.3) ** 2 for x in params.values())
                history.append(Launched(number, 0, None, params=params))
                history.append(reported(1, value, number))
                history.append(Closed(number, "completed"))
            return history.best_loss

        tpe, random = (
            statistics.median(best(searcher, seed) for seed in range(10))
            for searcher in (TPE(), Random())
        )
        assert tpe < random / 2


class Unseeded(optuna.samplers.RandomSampler):
    """A sampler from elsewhere."""

    def __init__(self, wanted: int = 0):
        super().__init__(seed=wanted)


class TestSpecs:
    def test_a_study_file_names_sampler_and_options(self):
        made = make("searcher", {"type": "optuna", "sampler": "cmaes", "options": {"sigma0": 0.1}})
        assert made == Optuna(sampler="cmaes", options={"sigma0": 0.1})
        assert made.to_json() == {
            "type": "optuna",
            "sampler": "cmaes",
            "options": {"sigma0": 0.1},
        }

    def test_defaults_are_left_out_of_the_json(self):
        assert Optuna().to_json() == {"type": "optuna"}
        assert TPE(n_startup_trials=5).to_json() == {"type": "tpe", "n_startup_trials": 5}

    def test_a_class_becomes_its_name(self):
        assert Optuna(sampler=optuna.samplers.NSGAIISampler).sampler == "nsgaii"
        assert Optuna(sampler=Unseeded).sampler == f"{__name__}:Unseeded"

    def test_a_sampler_from_elsewhere_is_imported_by_its_path(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "elsewhere", sys.modules[__name__])
        searcher = Optuna(sampler="elsewhere:Unseeded", options={"wanted": 3})
        searcher.check(SQUARE)
        history = History("loss", "min")
        assert all(map(SQUARE.contains, play(searcher, SQUARE, history, ["completed"], 3)))

    @pytest.mark.parametrize(
        ("searcher", "message"),
        [
            (Optuna(sampler="cmeas"), "there is no sampler 'cmeas'; did you mean 'cmaes'"),
            (Optuna(options={"n_startup": 3}), r"options\.n_startup: TPESampler has no such"),
            (Optuna(options={"seed": 3}), "give the study a seed"),
            (Optuna(sampler="nsgaii", options={"population_size": 1}), "population_size"),
            (Optuna(sampler="optuna.samplers:GridSampler"), "use the searcher 'grid'"),
            (Optuna(sampler=optuna.samplers.BruteForceSampler), "use the searcher 'grid'"),
            (Optuna(sampler="json:JSONDecoder"), "is no sampler of Optuna"),
            (Optuna(sampler="no.such:Sampler"), "cannot be imported"),
        ],
    )
    def test_what_cannot_work_is_refused_with_the_fix(self, searcher, message):
        with pytest.raises(SpecError, match=message):
            searcher.check(SQUARE)

    @pytest.mark.parametrize("option", ["with_margin", "consider_pruned_trials"])
    def test_what_cma_es_cannot_do_with_branches_is_refused_there(self, option):
        searcher = Optuna(sampler="cmaes", options={option: True})
        searcher.check(SQUARE)
        with pytest.raises(SpecError, match=f"{option}: works only in a space without branches"):
            searcher.check(MIXED)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"n_startup_trials": -1}, "searcher.n_startup_trials: -1 is not 0 or more"),
            ({"n_ei_candidates": 0}, "searcher.n_ei_candidates: 0 is not 1 or more"),
            ({"multivariate": False}, "searcher.group: "),
        ],
    )
    def test_a_bad_field_of_tpe_is_named(self, fields, message):
        with pytest.raises(SpecError, match=message):
            make("searcher", {"type": "tpe", **fields})

    def test_without_optuna_a_study_can_be_read_and_not_run(self, monkeypatch):
        for name in [name for name in sys.modules if name.partition(".")[0] == "optuna"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "optuna", None)
        searcher = Optuna(sampler="cmaes", options={"sigma0": 0.1})
        searcher.check(SQUARE)
        with pytest.raises(MissingDependencyError, match=r"tuneflow\[optuna\]") as caught:
            searcher.suggest(SQUARE, History("loss", "min"))
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    @pytest.mark.parametrize(
        ("sampler", "package"), [("gp", "torch"), ("cmaes", "cmaes"), ("qmc", "scipy")]
    )
    def test_a_package_that_a_sampler_needs_is_named(self, monkeypatch, sampler, package):
        def find(name):
            return None if name == package else object()

        monkeypatch.setattr(optuna_samplers, "find_spec", find)
        with pytest.raises(MissingDependencyError, match=f"{package} is not installed"):
            Optuna(sampler=sampler).suggest(SQUARE, History("loss", "min"))
