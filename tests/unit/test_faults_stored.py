"""What is torn, altered or missing in a storage is found, named, and never taken for the truth."""

from __future__ import annotations

import json
import logging
import shutil

import pytest

from tests.damage import KINDS, damage, everywhere
from tests.machine import make_study
from tests.objectives import Runner, levels
from tests.places import journal_bytes, new_url, open_study, simulated
from tuneflow import journal as journal_module
from tuneflow import rounds, stream
from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import CheckpointCorruptError, CorruptError
from tuneflow.events import Launched
from tuneflow.journal import Entry, entry_path, snapshot_path
from tuneflow.objective import PythonObjective
from tuneflow.objective.session import checkpoint
from tuneflow.outcomes import outcome_bytes, read_outcome, write_outcome
from tuneflow.schedulers import ASHA, FIFO, PBT
from tuneflow.store import Store
from tuneflow.trial import Failure, Outcome, Report, Segment, checkpoint_ref, outcome_path

TENSOR = 300 << 10


def safetensors(**tensors):
    """Return a file in the format of safetensors; each tensor is of bytes."""
    header, data = {}, b""
    for name, content in tensors.items():
        place = [len(data), len(data) + len(content)]
        header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": place}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def learn(config):
    """Count on from the checkpoint; a frozen tensor and one that is trained are beside it."""
    saved = checkpoint()
    level = int((saved / "level").read_text()) if saved else 0
    while True:
        level += 1

        def save(folder, level=level):
            trained = level.to_bytes(1, "big") * TENSOR
            (folder / "level").write_text(str(level))
            (folder / "model.safetensors").write_bytes(
                safetensors(frozen=bytes(TENSOR), trained=trained)
            )

        yield {"loss": 1 / level, "level": level}, save


def segment(number, **changes):
    return Segment(0, number, {}, **changes)


@pytest.fixture
def runner(tmp_path):
    """Three levels are done in two segments, and each has a checkpoint."""
    made = Runner(tmp_path, warm=0)
    assert levels(made.run(PythonObjective(learn), segment(0, until=2)).reports) == [1, 2]
    first = checkpoint_ref(0, 0, 2)
    again = segment(1, start=2, until=3, checkpoint=first)
    assert levels(made.run(PythonObjective(learn), again).reports) == [3]
    return made


@pytest.fixture
def study(tmp_path):
    return tmp_path / "study"


def parts_of(study, ref, *, beside=()):
    """Return the files that hold a checkpoint, and no other one: its manifest and its blobs."""
    found = [Checkpoints(Store(study.as_uri())).load(other) for other in (ref, *beside)]
    keys = [{part.key for file in one.files for part in file.parts} for one in found]
    own = keys[0].difference(*keys[1:])
    assert len(own) >= 2, "its level, and the tensor that is trained"
    return [study / ref, *(study / key for key in sorted(own))]


def go_on(runner, **changes):
    last = segment(2, start=3, until=5, checkpoint=checkpoint_ref(0, 1, 3), **changes)
    return runner.run(PythonObjective(learn), last)


class TestCheckpoints:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_trial_goes_on_from_the_newest_good_one(self, runner, study, kind, tmp_path, caplog):
        newest, before = checkpoint_ref(0, 1, 3), checkpoint_ref(0, 0, 2)
        whole = tmp_path / "whole"
        shutil.copytree(study, whole)
        for path in parts_of(study, newest, beside=[before]):
            shutil.rmtree(study)
            shutil.copytree(whole, study)
            damage(path, kind)
            caplog.clear()
            outcome = go_on(runner)
            assert outcome.status == "paused", outcome.failure
            assert levels(outcome.reports) == [3, 4, 5], "a level that is repeated adds nothing"
            assert [report.metrics["level"] for report in outcome.reports] == [3, 4, 5]
            (warning, *_) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
            assert newest in warning

    def test_an_older_one_is_taken_when_several_are_damaged(self, runner, study):
        for ref in (checkpoint_ref(0, 1, 3), checkpoint_ref(0, 0, 2)):
            damage(study / ref, "torn")
        assert levels(go_on(runner).reports) == [2, 3, 4, 5]

    def test_without_a_good_one_the_segment_fails_and_names_the_one_it_was_given(
        self, runner, study
    ):
        for path in study.glob("trials/*/checkpoints/*"):
            damage(path, "torn")
        outcome = go_on(runner)
        assert outcome.status == "failed"
        assert outcome.failure.kind == "CheckpointCorruptError"
        assert checkpoint_ref(0, 1, 3) in outcome.failure.message

    def test_a_clone_does_not_go_back_to_what_it_was_before(self, runner, study):
        """Its own older checkpoints were made by other parameters."""
        damage(study / checkpoint_ref(0, 1, 3), "flipped")
        outcome = go_on(runner, since=2)
        assert outcome.failure.kind == "CheckpointCorruptError"

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_segment_that_died_goes_on_from_its_own_newest_good_one(self, runner, study, kind):
        """Its outcome is lost, as with a worker that was killed before it could store one."""
        (study / outcome_path(0, 0)).unlink()
        damage(study / checkpoint_ref(0, 0, 2), kind)
        outcome = runner.run(PythonObjective(learn), segment(0, until=4))
        assert levels(outcome.reports) == [1, 2, 3, 4]
        assert [report.metrics["level"] for report in outcome.reports] == [1, 2, 3, 4]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(study.parent)
            Checkpoints(Store(study.as_uri())).restore(checkpoint_ref(0, 0, 2), study / "back")
        assert (study / "back" / "level").read_text() == "2", "it was stored anew"

    def test_a_manifest_that_is_damaged_anywhere_is_found(self, runner, study):
        ref = checkpoint_ref(0, 0, 2)
        checkpoints = Checkpoints(Store(study.as_uri()))
        for bad in everywhere((study / ref).read_bytes()):
            (study / ref).write_bytes(bad)
            with pytest.raises(CheckpointCorruptError, match=f"checkpoint {ref}: the manifest"):
                checkpoints.load(ref)

    def test_where_a_trial_began_to_have_its_parameters_is_known(self):
        """That is how far back it may go, also after its worker was lost."""
        study = make_study(PBT(max_resource=6, interval=2), trials=4, seed=3)
        opened = open_study(study, Store(new_url()))
        stream.drive(opened, simulated(workers=4))
        launched = [fact for fact in opened.history.facts if isinstance(fact, Launched)]
        clones = {fact.trial: fact.segment for fact in launched if fact.source is not None}
        assert clones
        since = {trial.number: trial.since for trial in opened.history.trials}
        assert since == {number: clones.get(number, 0) for number in since}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A study that has finished, and how many entries it has; there is no snapshot."""
    study = make_study(ASHA(max_resource=4, reduction_factor=2), trials=4)
    store = Store(tmp_path / "study")
    opened = open_study(study, store)
    stream.drive(opened, simulated(workers=2))
    return study, store, opened.journal.next_number


def state_of(store):
    return dict(zip(store.list(), store.get_many(store.list()), strict=True))


class TestJournal:
    def test_an_entry_that_is_damaged_anywhere_is_named_and_nothing_is_changed(
        self, written, tmp_path
    ):
        study, store, count = written
        for number in (0, count // 2, count - 1):
            path = tmp_path / "study" / entry_path(number)
            good = path.read_bytes()
            for bad in everywhere(good):
                if bad == good[:-1]:
                    continue  # without its last line break it is all there
                path.write_bytes(bad)
                before = state_of(store) if len(bad) % 50 == 0 else None
                with pytest.raises(CorruptError, match=f"{entry_path(number)} is torn or altered"):
                    open_study(study, store)
                assert before is None or state_of(store) == before
            path.write_bytes(good)
        assert open_study(study, store).history.state == "finished"

    def test_an_entry_that_is_gone_is_named(self, written, tmp_path):
        study, store, count = written
        for number in range(count - 1):
            path = tmp_path / "study" / entry_path(number)
            hidden = path.rename(tmp_path / "hidden")
            with pytest.raises(CorruptError, match=f"{entry_path(number)} is missing"):
                open_study(study, store)
            hidden.rename(path)

    def test_without_its_last_entry_a_study_does_the_same_again(self, written, tmp_path):
        study, store, count = written
        expected = open_study(study, store).history.facts
        (tmp_path / "study" / entry_path(count - 1)).unlink()
        opened = open_study(study, store)
        assert opened.history.state != "finished"
        stream.drive(opened, simulated(workers=2))
        assert opened.history.state == "finished"
        assert opened.history.spent == sum(
            fact.until - fact.start for fact in expected if isinstance(fact, Launched)
        )

    def test_an_entry_that_is_there_twice_is_named(self, written, tmp_path):
        study, store, count = written
        data = store.get(entry_path(count - 1))
        store.create(entry_path(count), data)
        with pytest.raises(CorruptError, match=f"{entry_path(count)} holds entry {count - 1}"):
            open_study(study, store)

    def test_a_snapshot_that_is_damaged_anywhere_is_of_no_account(self, tmp_path, monkeypatch):
        monkeypatch.setattr(journal_module, "SNAPSHOT_EVERY", 4)
        study = make_study(FIFO(max_resource=2), trials=2)
        store = Store(tmp_path / "study")
        expected = open_study(study, store)
        stream.drive(expected, simulated(workers=1))
        path = tmp_path / "study" / snapshot_path(3)
        good = path.read_bytes()
        for bad in everywhere(good):
            path.write_bytes(bad)
            assert open_study(study, store).history.facts == expected.history.facts

    def test_facts_that_cannot_follow_each_other_are_refused(self, written):
        study, store, count = written
        data = Entry(count, (Launched(0, 9, 4),)).to_bytes()
        store.create(entry_path(count), data)
        with pytest.raises(CorruptError, match="cannot follow what came before it"):
            open_study(study, store)


class TestOutcomes:
    OUTCOME = Outcome(
        1,
        0,
        "failed",
        (Report(1, {"loss": 0.25}, "trials/000001/checkpoints/0000-1.json", 99.5),),
        Failure("ValueError", "no"),
        98.0,
        100.0,
        "here",
    )

    def test_one_that_is_damaged_anywhere_is_named(self):
        good = outcome_bytes(self.OUTCOME)
        for bad in everywhere(good):
            with pytest.raises(CorruptError, match="the/path is torn or altered"):
                read_outcome(bad, "the/path")

    def test_one_of_an_earlier_version_is_read(self):
        data = json.dumps(self.OUTCOME.to_json()).encode()
        assert read_outcome(data, "path") == self.OUTCOME

    def test_a_round_is_not_decided_upon_one_that_is_damaged(self, tmp_path):
        study = make_study(FIFO(max_resource=1), trials=3, round_size="all")
        store = Store(tmp_path / "study")
        opened = open_study(study, store)
        for one in rounds.open_round(opened, 0).segments:
            report = Report(1, {"loss": 0.5})
            write_outcome(store, Outcome(*one.key, "paused", (report,), started=1, ended=2))
        path = outcome_path(1, 0)
        damage(tmp_path / "study" / path, "flipped")
        before = journal_bytes(store)
        with pytest.raises(CorruptError, match=f"{path} is torn or altered.*remove it"):
            rounds.drive(open_study(study, store), simulated())
        assert journal_bytes(store) == before
        store.delete([path])
        rounds.drive(open_study(study, store), simulated())
        found = open_study(study, store).history
        assert found.state == "finished"
        assert [trial.resource for trial in found.trials] == [1, 1, 1]

    def test_a_worker_does_not_go_by_one_that_is_damaged(self, runner, study):
        damage(study / outcome_path(0, 1), "torn")
        again = segment(1, start=2, until=3, checkpoint=checkpoint_ref(0, 0, 2))
        with pytest.raises(CorruptError, match="is torn or altered"):
            runner.run(PythonObjective(learn), again)
        (study / outcome_path(0, 1)).unlink()
        assert levels(runner.run(PythonObjective(learn), again).reports) == [3]


def test_a_spec_that_is_torn_is_named(tmp_path):
    from tuneflow.opened import OpenStudy

    study = make_study(FIFO(max_resource=1), trials=1)
    OpenStudy.create(study, str(tmp_path))
    damage(tmp_path / "study" / "study.json", "torn")
    with pytest.raises(CorruptError, match=r"study\.json is not JSON"):
        OpenStudy.open(str(tmp_path / "study"))


def test_a_checkpoint_of_a_trial_that_is_damaged_is_not_handed_out(runner, study, tmp_path):
    damage(study / checkpoint_ref(0, 1, 3), "torn")
    with pytest.raises(CheckpointCorruptError, match="the manifest"):
        Checkpoints(Store(study.as_uri())).restore(checkpoint_ref(0, 1, 3), tmp_path / "back")
