"""Which checkpoints stay: those that somebody may go on from, and those that are to be kept."""

from __future__ import annotations

import pytest

from tests.machine import NAN, Machine
from tuneflow.budget import Budget
from tuneflow.checkpointing import Checkpointing, Keep
from tuneflow.events import Opened
from tuneflow.retention import Needs, kept
from tuneflow.schedulers import ASHA, FIFO, PBT

NOTHING = Keep(last=0)


def refs(machine, keep=NOTHING):
    return kept(machine.study, machine.history, keep)


def started(scheduler=None, **changes):
    """Return a machine whose trials, two unless told otherwise, run."""
    machine = Machine(scheduler or FIFO(max_resource=3), **{"trials": 2, **changes})
    machine.decide()
    return machine


class TestWhatIsNeeded:
    def test_a_running_trial_needs_its_newest(self):
        machine = started()
        machine.report(0, 1, 0.5)
        machine.report(0, 2, 0.4)
        machine.report(1, 1, 0.4, saved=False)
        assert refs(machine) == {"ckpt/0-2"}

    def test_a_running_trial_needs_what_it_began_from_until_it_pauses(self):
        machine = started(ASHA(max_resource=9, reduction_factor=3), trials=3)
        for trial in range(3):
            machine.pause(trial, trial)
        machine.decide()
        machine.report(0, 2, 0.0)
        assert refs(machine) >= {"ckpt/0-1", "ckpt/0-2"}
        machine.pause(0, 0.0)
        assert not refs(machine) & {"ckpt/0-1", "ckpt/0-2"}

    def test_paused_trials_need_their_newest(self):
        machine = started(ASHA(max_resource=9, reduction_factor=3), trials=3)
        machine.pause(2, 9.0)
        assert refs(machine) == {"ckpt/2-1"}

    def test_a_trial_that_is_retried_needs_its_newest(self):
        machine = started(budget=Budget(max_failures_per_trial=1))
        machine.report(0, 1, 0.5)
        machine.close(0, "failed")
        assert 0 in machine.history.retries
        assert refs(machine) == {"ckpt/0-1"}

    def test_a_failed_trial_may_be_tried_again_after_the_end(self):
        machine = started()
        machine.report(0, 1, 0.5)
        machine.report(0, 2, 0.5)
        machine.close(0, "failed")
        machine.pause(1, 0.1)
        machine.decide()
        assert machine.history.state == "finished"
        assert refs(machine) == {"ckpt/0-2", "ckpt/1-3"}
        machine.history.append(Opened(2, retry_failed=True))
        machine.decide()
        assert machine.history.trials[0].origin == "ckpt/0-2"

    def test_a_donor_is_needed_for_as_long_as_its_copy_runs(self):
        machine = Machine(PBT(max_resource=6, quantile=0.5), trials=2)
        machine.decide()
        machine.pause(0, 0.1)
        machine.pause(1, 9.0)
        machine.decide()
        assert machine.history.trials[1].source == 0
        machine.report(0, 2, 0.1)
        assert {"ckpt/0-1", "ckpt/0-2"} <= refs(machine), "the copy began from the older one"
        machine.pause(1, 0.2)
        machine.decide()
        assert "ckpt/1-1" not in refs(machine), "nobody can come to what it was before"


class TestTheBest:
    def test_of_those_that_are_done_only_the_best_is_needed(self):
        machine = started(trials=3)
        for trial, value in enumerate((0.3, 0.1, 0.2)):
            machine.pause(trial, value)
        assert refs(machine) == {"ckpt/1-3"}

    def test_who_is_second_to_one_that_still_runs_may_be_the_best_in_the_end(self):
        machine = started()
        machine.report(0, 1, 0.1)
        machine.pause(1, 0.2)
        assert machine.history.best().number == 0
        assert refs(machine) == {"ckpt/0-1", "ckpt/1-3"}
        machine.pause(0, 0.3)
        assert machine.history.best().number == 1
        assert refs(machine) == {"ckpt/1-3"}

    def test_a_trial_that_breaks_a_bound_is_not_needed(self):
        machine = started(constraints=("size <= 1",), mode="max")
        machine.pause(0, {"loss": 9.0, "size": 2.0})
        machine.pause(1, {"loss": 1.0, "size": 1.0})
        assert machine.history.best().number == 1
        # Retuning knows no bounds, and begins with the first one.
        assert refs(machine) == {"ckpt/0-3", "ckpt/1-3"}

    def test_of_several_metrics_the_front_is_needed(self):
        machine = started(trials=3, other_metrics={"size": "max"})
        for trial, (loss, size) in enumerate(((0.1, 1.0), (0.2, 2.0), (0.3, 1.5))):
            machine.pause(trial, {"loss": loss, "size": size})
        assert refs(machine) == {"ckpt/0-3", "ckpt/1-3"}

    def test_a_retune_begins_with_the_best_of_those_that_got_furthest(self):
        machine = started(FIFO(), trials=2)
        machine.report(0, 5, 0.5)
        machine.close(0, "completed")
        machine.report(1, 1, 0.1)
        machine.close(1, "completed")
        assert refs(machine) == {"ckpt/1-1"}


class TestKeep:
    def reported(self, **changes):
        machine = started(**changes)
        for level, value in ((1, 0.1), (2, 0.4), (3, 0.3)):
            machine.report(0, level, value)
        machine.report(1, 1, 0.2)
        return machine

    def test_all_are_kept_unless_told_otherwise(self):
        assert refs(self.reported(), Keep()) == {"ckpt/0-1", "ckpt/0-2", "ckpt/0-3", "ckpt/1-1"}

    def test_the_study_says_what_is_kept(self):
        machine = self.reported(checkpoints=Checkpointing(keep=Keep(last=2)))
        assert kept(machine.study, machine.history) == {"ckpt/0-2", "ckpt/0-3", "ckpt/1-1"}

    @pytest.mark.parametrize(("last", "dropped"), [(0, 2), (1, 2), (2, 1), (3, 0), (9, 0)])
    def test_the_newest_of_each_trial(self, last, dropped):
        assert len(refs(self.reported(), Keep(last=last))) == 4 - dropped

    def test_the_best_of_the_study(self):
        assert refs(self.reported(), Keep(best=1)) == {"ckpt/0-1", "ckpt/0-3", "ckpt/1-1"}
        assert refs(self.reported(mode="max"), Keep(best=1)) == {
            "ckpt/0-2",
            "ckpt/0-3",
            "ckpt/1-1",
        }

    def test_of_equal_ones_the_earlier(self):
        machine = started()
        for level in (1, 2, 3):
            machine.report(0, level, 0.5)
        assert refs(machine, Keep(best=1)) == {"ckpt/0-1", "ckpt/0-3"}

    def test_what_has_no_value_or_breaks_a_bound_is_none_of_the_best(self):
        machine = started(trials=1, constraints=("size <= 1",))
        machine.report(0, 1, {"loss": NAN, "size": 0.0})
        machine.report(0, 1.5, {"size": 0.0})
        machine.report(0, 2, {"loss": 0.1, "size": 2.0})
        machine.report(0, 2.5, {"loss": 0.9, "size": 1.0})
        machine.report(0, 3, {"loss": 1.0, "size": 1.0})
        assert refs(machine, Keep(best=3)) == {"ckpt/0-2.5", "ckpt/0-3"}


class TestNeeds:
    def test_says_why_each_one_is_kept(self):
        machine = started(trials=3)
        machine.pause(0, 0.3)
        machine.pause(1, 0.1)
        machine.report(2, 1, 0.2)
        machine.report(2, 2, 0.2)
        needs = Needs.of(machine.history, Keep(last=1))
        assert needs.kept == {
            "ckpt/0-3": "it is one of the newest of its trial",
            "ckpt/1-3": "its trial is the best so far",
            "ckpt/2-2": "its trial runs",
        }
        assert needs.reported == {"ckpt/0-3", "ckpt/1-3", "ckpt/2-1", "ckpt/2-2"}
        assert (needs.segments, needs.running, needs.is_over) == ((0, 0, 0), {2}, False)

    def test_is_over_when_nothing_runs_any_more(self):
        machine = started(trials=1)
        machine.report(0, 1, 0.1)
        machine.pause(0, 0.1)
        assert not Needs.of(machine.history, NOTHING).is_over
        machine.decide()
        assert Needs.of(machine.history, NOTHING).is_over

    def test_looks_at_a_trial_that_is_done_only_once(self, monkeypatch):
        machine = started(trials=50)
        for trial in range(49):
            machine.pause(trial, trial / 100)
        assert len(refs(machine)) == 1
        looked = []
        real = machine.history.trial_losses
        monkeypatch.setattr(
            machine.history, "trial_losses", lambda trial: looked.append(trial) or real(trial)
        )
        machine.pause(49, 0.5)
        assert refs(machine) == {"ckpt/0-3"}
        assert [trial.number for trial in looked] == [49]
