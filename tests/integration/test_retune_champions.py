"""Retunes that begin and end at once, in processes of their own: the log stays in order."""

from __future__ import annotations

import multiprocessing

import pytest

from tests.champions import champion
from tuneflow.errors import StudyConflictError
from tuneflow.retune.champions import ChampionLog
from tuneflow.store import Store

pytestmark = pytest.mark.integration

RIVALS = 8
RETUNES = 3


ALSO_S3 = pytest.param("s3_url", marks=pytest.mark.local("has an S3 server beside local files"))


@pytest.fixture(params=["storage", ALSO_S3])
def url(request, storages):
    return f"{request.getfixturevalue(request.param)}/line"


def rival(url, me, start, answers):
    """Begin and end retunes, one after the other, and say how each ended."""
    log = ChampionLog(Store(url)).read()
    start.wait(60)
    for turn in range(RETUNES):
        number = log.begin(run=f"{me}.{turn}")
        theirs = champion(me / 10, retune=number).to_json()
        said = {"champion": theirs, "comparison": None, "reason": f"{me}.{turn}"}
        try:
            log.append("promoted", said, retune=number)
        except StudyConflictError:
            answers.put((number, f"{me}.{turn}", False))
        else:
            answers.put((number, f"{me}.{turn}", True))


def twin(url, start, answers):
    """Begin a retune that others begin as well, and give it the verdict that they give."""
    log = ChampionLog(Store(url)).read()
    start.wait(60)
    number = log.begin(run="the same")
    # After a verdict the run would begin another one.
    start.wait(60)
    said = {"champion": champion().to_json(), "comparison": None, "reason": "the same"}
    answers.put((number, log.append("promoted", said, retune=number).number))


def all_at_once(target, arguments, count):
    """Run processes that wait for one another before they begin; return what they answer."""
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(len(arguments)), context.Queue()
    processes = [context.Process(target=target, args=(*a, start, answers)) for a in arguments]
    for process in processes:
        process.start()
    found = [answers.get(timeout=90) for _ in range(count)]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    return found


def test_of_rivals_exactly_the_newest_change_the_champion(url):
    rivals = [(url, me) for me in range(RIVALS)]
    answers = all_at_once(rival, rivals, RIVALS * RETUNES)
    records = ChampionLog(Store(url)).read().records
    began = [record for record in records if record.type == "began"]
    promoted = [record for record in records if record.type == "promoted"]
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    # Each retune has a number of its own, without gaps.
    assert [record.retune for record in began] == list(range(1, RIVALS * RETUNES + 1))
    assert {(one.retune, one.data["run"]) for one in began} == {one[:2] for one in answers}
    # Each promotion is that of the newest retune, and those who were told of one have one.
    assert all(records[record.number - 2].retune == record.retune for record in promoted)
    told = {(number, run) for number, run, has_won in answers if has_won}
    assert {(one.retune, one.data["reason"]) for one in promoted} == told
    # The newest retune has nobody who could overtake it.
    assert records[-1].type == "promoted"


def test_twins_are_one_retune_with_one_verdict(url):
    answers = all_at_once(twin, [(url,)] * RIVALS, RIVALS)
    log = ChampionLog(Store(url)).read()
    assert set(answers) == {(1, 2)}
    assert [record.type for record in log.records] == ["began", "promoted"]
