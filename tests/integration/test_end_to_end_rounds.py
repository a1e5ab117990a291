"""A study in rounds has one journal, to the byte, wherever it runs and whenever it is killed."""

from __future__ import annotations

import json
from itertools import cycle

import pytest

from tests.clusters import cluster
from tests.end_to_end import (
    ASHA,
    INLINE,
    LOCAL,
    await_saved,
    computed,
    driver,
    entries,
    held,
    hold,
    let_go,
    on,
    outcomes,
    prepare,
    resume,
    run,
    saved,
    wait_for_entries,
)

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("storage")]

STUDIES = {
    "hyperband": {
        "round_size": "all",
        "scheduler": {"type": "hyperband", "max_resource": 9, "reduction_factor": 3},
        "trials": None,
    },
    "asha": {"round_size": 4, "scheduler": ASHA, "searcher": "tpe", "trials": 12},
    "pbt": {
        "round_size": "all",
        "scheduler": {"type": "pbt", "max_resource": 6, "interval": 2, "synchronous": True},
        "trials": 5,
    },
}


@pytest.fixture(scope="module")
def two():
    """The address of a cluster of two worker processes."""
    with cluster(2) as address:
        yield address


@pytest.fixture(scope="module")
def one():
    """The address of a cluster of one worker process."""
    with cluster(1) as address:
        yield address


@pytest.fixture(params=STUDIES)
def spec(request):
    return STUDIES[request.param]


@pytest.fixture
def expected(spec, tmp_path):
    """The journal of the study as it is when nothing goes wrong, in this process."""
    url = prepare(tmp_path / "expected", **spec)
    assert run(tmp_path / "expected", *INLINE) == 0
    assert len(entries(url)) > 3
    return entries(url)


def test_the_number_of_workers_leaves_no_trace(spec, expected, tmp_path, one, two):
    for name, address in (("one", one), ("two", two)):
        url = prepare(tmp_path / name, **spec)
        assert run(tmp_path / name, *on(address)) == 0
        assert entries(url) == expected


def test_kills_in_the_middle_of_segments_leave_no_trace(spec, expected, tmp_path, one, two):
    """The driver is killed four times; each time another executor goes on."""
    url = prepare(tmp_path / "killed", **spec)
    total = computed(tmp_path / "expected").total()
    places = (INLINE, on(two), INLINE, on(one))
    sizes = []
    for part, place in enumerate(places):
        start = ("run", "study.yaml") if part == 0 else ("resume", url)
        limit = 1 + part * (total - 2) // (len(places) - 1)
        with held(tmp_path / "killed", *start, *place, limit=limit) as started:
            started.kill()
            started.wait()
        sizes.append(len(entries(url)))
    let_go(tmp_path / "killed")
    assert 0 < sizes[0] < sizes[-1] < len(expected)
    assert resume(url, *on(two)) == 0
    assert entries(url) == expected


def test_kills_between_commits_leave_no_trace(spec, expected, tmp_path, two):
    """The driver is killed as soon as it has written another entry, whatever it is doing."""
    url = prepare(tmp_path / "killed", **spec)
    # It must not be through before it is killed.
    hold(tmp_path / "killed", computed(tmp_path / "expected").total())
    places = cycle([INLINE, on(two)])
    for count in range(1, len(expected) - 1, max(1, len(expected) // 4)):
        start = ("run", "study.yaml") if count == 1 else ("resume", url)
        with driver(tmp_path / "killed", *start, *next(places)) as started:
            wait_for_entries(url, count, started)
            started.kill()
            started.wait()
        assert entries(url).items() <= expected.items()
    let_go(tmp_path / "killed")
    assert resume(url, *next(places)) == 0
    assert entries(url) == expected


def test_a_kill_on_a_local_cluster_repeats_nothing_that_was_saved(tmp_path):
    spec = STUDIES["hyperband"]
    url = prepare(tmp_path, **spec)
    with held(tmp_path, "run", "study.yaml", *LOCAL, limit=20) as started:
        await_saved(tmp_path, url)
        started.kill()
        started.wait()
    before = saved(url)
    let_go(tmp_path)
    assert resume(url, *INLINE) == 0
    again = computed(tmp_path)
    assert {level for level in before if again[level] > 1} == set()
    assert again.total() <= len(again) + 2, "only what two workers were at is done twice"


def test_the_outcomes_are_the_same_but_for_times_and_places(tmp_path, two):
    def essence(folder, place):
        url = prepare(tmp_path / folder, **STUDIES["pbt"])
        assert run(tmp_path / folder, *place) == 0
        found = {}
        for key, data in outcomes(url).items():
            outcome = json.loads(data)
            for name in ("started", "ended", "worker", "check"):
                outcome.pop(name)
            for report in outcome["reports"]:
                report.pop("time")
            found[key] = outcome
        return found

    assert essence("inline", INLINE) == essence("dask", on(two))
