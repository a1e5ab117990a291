"""Lineages of PBT studies, and what is trained again with their schedules."""

from __future__ import annotations

import json

import pytest

import tuneflow
from tests.machine import SPACE, Machine, make_report
from tuneflow import yaml_text
from tuneflow.cli import main
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Launched, Reported, Stopped
from tuneflow.executors.simulated import SimulatedExecutor
from tuneflow.history import History
from tuneflow.plugins import make
from tuneflow.schedulers import PBT, PBTReplay
from tuneflow.schedulers.lineage import Step, lineage, schedule_of
from tuneflow.space import Float, Int, Space
from tuneflow.trial import TrialState

A, B, C = {"x": 0.1}, {"x": 0.2}, {"x": 0.3}
SCHEDULE = ({"until": 2, "params": A}, {"until": 3, "params": B}, {"until": 6, "params": C})


def history(*facts) -> History:
    made = History("loss", "min")
    made.extend(facts)
    return made


def launch(trial, segment, until, params=None, **more):
    return Launched(trial, segment, until, params=params, **more)


def ran(trial, *levels, value=1.0):
    """Return the facts of a trial that reports at these levels and pauses."""
    reports = [Reported(trial, make_report(trial, level, value)) for level in levels]
    return (*reports, Closed(trial, "paused"))


class TestLineage:
    def test_a_trial_that_copied_nobody_has_one_step(self):
        known = history(launch(0, 0, 4, A), *ran(0, 1, 2, 3, 4), launch(0, 1, 6), *ran(0, 5, 6))
        assert lineage(known) == [Step(6, A, 0)]

    def test_it_goes_back_through_several_clones(self):
        known = history(
            launch(0, 0, 2, A),
            launch(1, 0, 2, B),
            launch(2, 0, 2, C),
            *ran(0, 2),
            *ran(1, 2),
            *ran(2, 2),
            launch(1, 1, 4, {"x": 0.11}, start=2, source=0, checkpoint="0-2"),
            *ran(1, 3, 4),
            launch(2, 1, 6, {"x": 0.12}, start=4, source=1, checkpoint="1-4"),
            *ran(2, 6, value=0.5),
        )
        assert lineage(known) == [Step(2, A, 0), Step(4, {"x": 0.11}, 1), Step(6, {"x": 0.12}, 2)]
        assert lineage(known, 1) == [Step(2, A, 0), Step(4, {"x": 0.11}, 1)]

    def test_a_donor_counts_up_to_the_checkpoint_that_was_copied(self):
        known = history(
            launch(0, 0, 4, A),
            launch(1, 0, 4, B),
            *ran(0, 3, 4),
            *ran(1, 4),
            launch(1, 1, 5, C, start=3, source=0, checkpoint="0-3"),
            *ran(1, 5, value=0.1),
            # What becomes of the donor later is no part of it.
            launch(0, 1, 6, B, start=4, source=1, checkpoint="1-4"),
        )
        assert lineage(known) == [Step(3, A, 0), Step(5, C, 1)]

    def test_steps_with_the_same_configuration_are_one(self):
        known = history(
            launch(0, 0, 2, A),
            launch(1, 0, 2, B),
            *ran(0, 2),
            *ran(1, 2),
            launch(1, 1, 4, dict(A), start=2, source=0, checkpoint="0-2"),
            *ran(1, 4),
        )
        assert lineage(known, 1) == [Step(4, A, 1)]

    def test_a_clone_of_nothing_begins_anew(self):
        known = history(
            launch(0, 0, 2, A),
            *ran(0, 2),
            launch(1, 0, 2, B),
            *ran(1, 2),
            launch(1, 1, 2, C, source=0),
            *ran(1, 1),
        )
        assert lineage(known, 1) == [Step(1, C, 1)]

    def test_what_cannot_be_told_is_an_error(self):
        with pytest.raises(SpecError, match="has a usable value; name one"):
            lineage(history(launch(0, 0, 2, A)))
        with pytest.raises(SpecError, match="trial 0 has reported nothing"):
            lineage(history(launch(0, 0, 2, A)), 0)
        with pytest.raises(SpecError, match="no trial 3; it has 0 to 0"):
            lineage(history(launch(0, 0, 2, A)), 3)


class TestReplay:
    def replayed(self, **changes) -> Machine:
        return Machine(PBTReplay(SCHEDULE), **changes)

    def test_the_trial_pauses_at_each_change_and_goes_on_from_its_checkpoint(self):
        machine = self.replayed()
        seen = []
        for _ in SCHEDULE:
            [fact] = [f for f in machine.decide() if isinstance(f, Launched)]
            seen.append((fact.trial, fact.start, fact.until, fact.params, fact.checkpoint))
            machine.pause(0, 0.5)
        assert seen == [
            (0, 0, 2, A, None),
            (0, 2, 3, B, "ckpt/0-2"),
            (0, 3, 6, C, "ckpt/0-3"),
        ]
        machine.decide()
        assert machine.history.trials[0].state is TrialState.COMPLETED
        assert machine.history.state == "finished"

    def test_a_study_has_one_trial_and_the_searcher_is_not_asked(self):
        machine = self.replayed()
        assert machine.launched() == [(0, 2)]
        assert self.replayed(trials=3).launched() == [(0, 2), (1, 2), (2, 2)]

    def test_a_value_counts_for_the_configuration_that_made_it(self):
        machine = self.replayed()
        machine.decide()
        machine.pause(0, 0.5)
        machine.decide()
        assert machine.history.trials[0].outdated == 1
        assert machine.history.best() is None

    def test_a_retry_keeps_the_configuration(self):
        machine = self.replayed()
        machine.decide()
        machine.pause(0, 0.5)
        machine.decide()
        machine.close(0, "lost")
        [fact] = machine.decide()
        assert (fact.attempt, fact.until, fact.params, fact.start) == (1, 3, None, 2)
        assert machine.history.trials[0].params == B

    def test_without_a_checkpoint_at_a_change_the_trial_is_stopped(self):
        machine = self.replayed()
        machine.decide()
        machine.pause(0, 0.5, False)
        stopped = [fact for fact in machine.decide() if isinstance(fact, Stopped)]
        assert [fact.reason for fact in stopped] == [
            "it has no checkpoint of level 2 to go on from"
        ]

    @pytest.mark.parametrize(
        ("schedule", "problem"),
        [
            ((), "scheduler.schedule: it has no step"),
            (({"until": 2},), "scheduler.schedule[0]: {'until': 2} is not"),
            (({"until": 0, "params": A},), "scheduler.schedule[0].until: 0 is not a number above"),
            ((SCHEDULE[0], SCHEDULE[0]), "scheduler.schedule[1].until: 2 is not a number above 2"),
        ],
    )
    def test_a_wrong_schedule_is_refused(self, schedule, problem):
        with pytest.raises(SpecError) as caught:
            make("scheduler", PBTReplay(SCHEDULE).to_json() | {"schedule": list(schedule)})
        assert str(caught.value).startswith(problem)

    def test_a_configuration_outside_the_space_is_refused(self):
        with pytest.raises(SpecError) as caught:
            PBTReplay(({"until": 1, "params": {"x": 2}},)).check(SPACE)
        assert caught.value.field == "scheduler.schedule[0].params"


def curve(config, resource):
    """Which rate is best changes with the level, so that members overtake one another."""
    best = 1e-3 if resource < 6 else 3e-2
    return abs(config["rate"] - best) / best + config["layers"] * 0.01 + 1 / resource


WORLD = Space({"rate": Float(1e-4, 1e-1, log=True), "layers": Int(1, 8)})


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A PBT study, and the replay of its winner."""
    common = {
        "space": WORLD,
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "storage": tmp_path_factory.mktemp("studies"),
        "progress": False,
    }
    population = tuneflow.tune(
        curve,
        scheduler=PBT(max_resource=12, interval=2),
        trials=8,
        seed=4,
        name="population",
        executor=SimulatedExecutor(workers=3, straggler_spread=0.3),
        **common,
    )
    schedule = tuneflow.pbt_schedule(population.url)
    replay = tuneflow.tune(
        curve,
        scheduler={"type": "pbt_replay", "schedule": schedule},
        name="replay",
        executor=SimulatedExecutor(workers=1),
        **common,
    )
    return population, replay, schedule


class TestEndToEnd:
    def test_the_replay_repeats_the_lineage_of_the_winner(self, studies):
        population, replay, schedule = studies
        winner = population.history.best().number
        clones = {s.trial for s in lineage(population.history)}
        assert len(schedule) >= 3
        assert len(clones) >= 3, "the winner's lineage has several clones"
        assert schedule == schedule_of(lineage(population.history, winner))
        assert tuneflow.pbt_schedule(replay.url) == schedule
        assert [t.params for t in replay.trials] == [schedule[-1]["params"]]

    def test_it_comes_to_the_value_of_the_winner(self, studies):
        population, replay, _ = studies
        assert replay.best_value == population.best_value
        levels = [report.resource for report in replay.trials[0].reports]
        assert levels == list(range(1, 13))

    def test_the_command_shows_it_and_writes_what_a_study_file_needs(self, studies, capsys):
        population, _, schedule = studies
        assert main(["lineage", population.url]) == 0
        table = capsys.readouterr().out.splitlines()
        assert table[0].split() == ["from", "until", "trial", "configuration"]
        assert len(table) == 1 + len(schedule)
        assert main(["lineage", population.url, "--yaml"]) == 0
        block = yaml_text.parse(capsys.readouterr().out)["scheduler"]
        assert make("scheduler", block) == PBTReplay(tuple(schedule))
        assert main(["lineage", population.url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == schedule
        assert main(["lineage", population.url, "--trial", "99"]) == 2
        assert "--trial: the study has no trial 99" in capsys.readouterr().err


def train(config):
    """A sum over its steps of what each had, kept in its checkpoint."""
    folder = tuneflow.checkpoint()
    total = float((folder / "total").read_text()) if folder else 0.0
    while True:
        total += config["x"]
        save = lambda into, total=total: (into / "total").write_text(repr(total))  # noqa: E731
        tuneflow.report(loss=total, x=config["x"], checkpoint=save)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_real_objective_starts_anew_with_the_next_configuration(tmp_path, isolation):
    result = tuneflow.tune(
        train,
        space={"x": Float(0, 1)},
        metric="loss",
        mode="min",
        scheduler=PBTReplay(SCHEDULE),
        searcher="random",
        storage=tmp_path,
        name="replay",
        executor={"type": "inline", "isolation": isolation},
        trackers=[{"type": "jsonl", "path": str(tmp_path / "events.jsonl")}],
        progress=False,
    )
    used = [report.metrics["x"] for report in result.trials[0].reports]
    assert used == [0.1, 0.1, 0.2, 0.3, 0.3, 0.3]
    assert result.best_value == pytest.approx(1.3)
    events = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    assert [e["params.x"] for e in events if e["event"] == "change"] == [0.2, 0.3]
