"""Who is blamed for the death of a worker, and how those who may be at fault are told apart."""

from __future__ import annotations

import pytest

from tuneflow.executors.dask_flight import Flight
from tuneflow.executors.dask_suspects import Suspects, blamed
from tuneflow.executors.placement import Place, Placement, Request
from tuneflow.trial import Segment


def flight(launch, where=None, deaths=0):
    return Flight(launch, Segment(launch, 0, {}), Request(), where, deaths=deaths)


class Cluster:
    """Workers with two threads each, and what runs there."""

    def __init__(self, *workers):
        self.placement = Placement(Request())
        self.placement.update(Place(worker, 2) for worker in workers)
        self.flights = {}
        self.suspects = Suspects(self.flights, self.placement)

    def hold(self, *deaths):
        for count in deaths:
            one = flight(len(self.flights), deaths=count)
            self.flights[one.launch] = one
            self.suspects.hold(one)

    def release(self):
        """Send what can go; return where each went."""
        sent = {}
        for one, where in self.suspects.released():
            one.where = sent[one.launch] = where
            if where:
                self.placement.put(one.launch, where)
        return sent

    def end(self, launch):
        self.suspects.forget(self.flights.pop(launch))
        self.placement.free(launch)


class TestBlame:
    def test_all_at_a_worker_are_blamed_as_long_as_nothing_tells_them_apart(self):
        assert blamed([flight(1, "a"), flight(2, "a"), flight(3, "b")]) == {1, 2, 3}

    def test_who_has_seen_the_most_deaths_is_blamed_alone(self):
        there = [flight(1, "a", 1), flight(2, "a", 2), flight(3, "a"), flight(4, "b")]
        assert blamed(there) == {2, 4}

    def test_nobody_is_where_nobody_was(self):
        assert blamed([]) == set()


class TestSuspects:
    @pytest.mark.parametrize(("deaths", "is_suspect"), [(0, False), (1, False), (2, True)])
    def test_two_deaths_without_a_new_level_in_between_make_one(self, deaths, is_suspect):
        one = flight(1, deaths=deaths)
        assert one.is_suspect == is_suspect
        one.note(1)
        assert not one.is_suspect

    def test_each_goes_to_a_worker_of_its_own_and_the_others_wait(self):
        cluster = Cluster("a", "b")
        cluster.hold(2, 2, 3)
        sent = cluster.release()
        assert set(sent) == {0, 1}
        assert set(sent.values()) == {"a", "b"}
        assert cluster.release() == {}

    def test_one_that_ends_makes_room_for_the_next(self):
        cluster = Cluster("a")
        cluster.hold(2, 2)
        assert cluster.release() == {0: "a"}
        cluster.end(0)
        assert cluster.release() == {1: "a"}

    def test_one_that_gets_on_is_none_any_more(self):
        cluster = Cluster("a")
        cluster.hold(2, 2)
        cluster.release()
        cluster.flights[0].note(1)
        assert cluster.release() == {1: "a"}

    def test_one_that_ends_while_it_waits_is_never_sent(self):
        cluster = Cluster("a")
        cluster.hold(2, 2)
        cluster.release()
        cluster.end(1)
        cluster.end(0)
        assert cluster.release() == {}

    def test_without_workers_one_is_left_to_dask_so_that_a_cluster_grows_for_it(self):
        cluster = Cluster()
        cluster.hold(2, 2)
        assert cluster.release() == {0: None}
        assert cluster.release() == {}

    def test_one_avoids_a_worker_that_cannot_use_the_storage_while_there_is_another(self):
        cluster = Cluster("a", "b")
        cluster.hold(2, 2)
        for one in cluster.flights.values():
            one.avoids = frozenset({"a"})
        assert cluster.release() == {0: "b"}
        cluster.end(0)
        assert cluster.release() == {1: "b"}

    def test_one_that_would_avoid_them_all_avoids_none(self):
        cluster = Cluster("a", "b")
        cluster.hold(2)
        cluster.flights[0].avoids = frozenset({"a", "b"})
        assert set(cluster.release()) == {0}
