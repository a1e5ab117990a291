"""Where segments go on a cluster, and what a trial may ask for."""

from __future__ import annotations

import pytest

from tuneflow.errors import SpecError
from tuneflow.executors.placement import Place, Placement, Request


class TestRequest:
    @pytest.mark.parametrize(
        ("resources", "request_"),
        [
            (None, Request(1, 0, 0)),
            ({}, Request(1, 0, 0)),
            ({"cpu": 2, "gpu": 0.5, "memory": "2GB"}, Request(2, 0.5, 2_000_000_000)),
            ({"memory": "512 MiB"}, Request(1, 0, 512 << 20)),
            ({"memory": "1.5kb"}, Request(1, 0, 1500)),
            ({"memory": 4096}, Request(1, 0, 4096)),
            ({"memory": "4096"}, Request(1, 0, 4096)),
            ({"gpu": 2.0}, Request(1, 2, 0)),
        ],
    )
    def test_resources_are_read(self, resources, request_):
        assert Request.parse(resources) == request_

    @pytest.mark.parametrize(
        ("resources", "said"),
        [
            ({"gpus": 1}, "resources.gpus: no such resource; did you mean 'gpu'?"),
            ({"cpu": 0}, "resources.cpu: 0 runs nothing; give a number above 0"),
            ({"cpu": "2"}, "resources.cpu: '2' is not an amount; give a number"),
            ({"gpu": -1}, "resources.gpu: -1 is not an amount; give a number"),
            ({"gpu": True}, "resources.gpu: True is not an amount; give a number"),
            ({"cpu": float("inf")}, "resources.cpu: inf is not an amount; give a number"),
            ({"memory": "2 cows"}, "resources.memory: '2 cows' is not an amount of memory"),
            ({"memory": "-2GB"}, "resources.memory: '-2GB' is not an amount of memory"),
            ({"memory": None}, "resources.memory: None is not an amount of memory"),
            ({"gpu": 1.5}, "1.5 GPUs cannot be set apart for a trial"),
        ],
    )
    def test_what_makes_no_sense_is_refused_with_the_field_and_the_value(self, resources, said):
        with pytest.raises(SpecError) as caught:
            Request.parse(resources)
        assert said in str(caught.value)

    @pytest.mark.parametrize(("cpu", "threads"), [(0.5, 1), (1, 1), (1.5, 2), (4, 4)])
    def test_a_fraction_of_a_cpu_still_takes_a_thread(self, cpu, threads):
        assert Request(cpu).threads == threads


class TestPlace:
    @pytest.mark.parametrize(
        ("request_", "room"),
        [
            (Request(), 8),
            (Request(cpu=3), 2),
            (Request(cpu=9), 0),
            (Request(gpu=1), 2),
            (Request(gpu=0.5), 4),
            (Request(gpu=0.1), 8),
            (Request(gpu=4), 0),
            (Request(memory=5), 2),
            (Request(cpu=4, memory=9), 1),
            (Request(memory=11), 0),
        ],
    )
    def test_it_has_room_for_what_the_scarcest_resource_allows(self, request_, room):
        assert Place("a", threads=8, gpu=2, memory=10).room_for(request_) == room

    def test_thirds_of_a_gpu_fill_it(self):
        assert Place("a", threads=9, gpu=1).room_for(Request(gpu=1 / 3)) == 3

    def test_a_worker_without_a_memory_limit_has_room_for_any_memory(self):
        assert Place("a", threads=2).room_for(Request(memory=1 << 60)) == 2


@pytest.fixture
def placement():
    """Two workers, one with two threads and one with four."""
    placement = Placement(Request())
    placement.update([Place("small", 2), Place("large", 4)])
    return placement


class TestPlacement:
    def test_the_capacity_is_that_of_all_workers(self, placement):
        assert placement.capacity == 6
        placement.update([Place("large", 4)])
        assert placement.capacity == 4

    def test_segments_fill_every_slot_before_any_waits(self, placement):
        for segment in range(6):
            placement.put(segment, placement.choose())
        sent = [placement._where[segment][0] for segment in range(6)]
        assert sorted(sent) == ["large"] * 4 + ["small"] * 2

    def test_the_preferred_worker_is_chosen_while_it_has_a_slot(self, placement):
        for segment in range(2):
            assert placement.choose("small") == "small"
            placement.put(segment, "small")
        assert placement.choose("small") == "large"

    def test_a_preferred_worker_that_is_gone_is_not_chosen(self, placement):
        assert placement.choose("gone") in ("small", "large")

    def test_a_worker_without_room_is_never_chosen(self):
        placement = Placement(Request(gpu=1))
        placement.update([Place("cpu", 8), Place("gpu", 1, gpu=1)])
        for segment in range(3):
            assert placement.choose("cpu") == "gpu"
            placement.put(segment, "gpu")

    def test_a_worker_that_it_is_to_be_apart_from_is_left_out(self, placement):
        assert placement.choose(apart={"large"}) == "small"
        assert placement.choose(apart={"large", "small"}) is None

    def test_without_workers_there_is_no_choice(self):
        assert Placement(Request()).choose("a") is None

    def test_a_segment_that_ends_frees_its_slot(self, placement):
        placement.put(0, "small")
        placement.put(1, "small")
        placement.free(0)
        assert placement.choose("small") == "small"

    def test_a_segment_that_turns_up_elsewhere_frees_the_slot_it_was_sent_to(self, placement):
        placement.put(0, "small")
        placement.put(1, "small")
        placement.put(1, "large")
        placement.put(1, "large")
        assert placement.choose("small") == "small"
        placement.free(1)
        assert placement.choose("large") == "large"

    def test_segments_are_shared_out_evenly_among_the_slots_of_a_worker(self, placement):
        shares = [placement.share("large", count) for count in (1, 4, 5, 9)]
        assert shares == [1, 1, 2, 3]

    def test_where_the_worker_is_unknown_segments_go_one_by_one(self, placement):
        assert placement.share(None, 9) == placement.share("gone", 9) == 1

    def test_only_what_waits_leaves_and_only_for_a_free_slot(self, placement):
        placement.put(0, "small")
        placement.put(1, "small")
        assert not placement.should_leave("small")
        placement.put(2, "small")
        assert placement.should_leave("small")
        for segment in range(3, 7):
            placement.put(segment, "large")
        assert not placement.should_leave("small")
        assert not placement.should_leave(None)

    def test_freeing_twice_is_harmless(self, placement):
        placement.put(0, "small")
        placement.free(0)
        placement.free(0)
        placement.put(1, "small")
        assert placement.choose("small") == "small"


class TestRequestsThatDiffer:
    large, small = Request(cpu=2, gpu=3), Request(gpu=1)

    @pytest.fixture
    def placement(self):
        """Two workers of 8 threads, one with four GPUs and one with two."""
        placement = Placement(self.small)
        placement.update([Place("four", 8, gpu=4), Place("two", 8, gpu=2)])
        return placement

    def test_a_request_changes_only_what_is_named(self):
        request = Request.parse({"cpu": 2, "gpu": 0.5, "memory": "2GB"})
        assert request.changed({"gpu": 3}) == Request(2, 3, 2_000_000_000)
        assert request.changed(None) == request.changed({}) == request
        with pytest.raises(SpecError, match=r"resources\.gpus: no such resource"):
            request.changed({"gpus": 3})

    def test_each_takes_its_own_of_a_worker(self, placement):
        assert (placement.capacity, placement.room) == (6, 6)
        placement.put(0, "four", self.large)
        assert placement.room == 3
        assert placement.choose("four", self.small) == "four"
        placement.put(1, "four", self.small)
        assert placement.room == 2
        assert not placement.fits("four", self.small)
        placement.free(0)
        assert placement.room == 5

    def test_one_that_no_worker_has_room_for_now_waits_for_the_one_that_could(self, placement):
        placement.put(0, "four", self.small)
        placement.put(1, "four", self.small)
        assert placement.choose(None, self.large) == "four"
        assert not placement.fits("four", self.large)
        assert placement.choose(None, Request(gpu=5)) is None

    def test_threads_and_memory_count_too(self):
        placement = Placement(Request())
        placement.update([Place("a", 4, memory=8)])
        placement.put(0, "a", Request(cpu=3, memory=2))
        assert placement.room == 1
        assert placement.fits("a", Request(memory=6))
        assert not placement.fits("a", Request(memory=7))
        placement.put(1, "a", Request(memory=6))
        assert not placement.fits("a", Request())

    def test_a_worker_is_crowded_when_anything_of_it_is_overdrawn(self, placement):
        placement.put(0, "two", Request(gpu=2))
        assert not placement.should_leave("two", self.small)
        placement.put(1, "two", self.small)
        assert placement.should_leave("two", self.small)
        placement.put(2, "four", Request(gpu=4))
        assert not placement.should_leave("two", self.small)

    def test_the_least_loaded_is_chosen_by_the_shares_of_what_it_runs(self, placement):
        placement.put(0, "four", self.small)
        placement.put(1, "two", self.small)
        assert placement.choose(None, Request(cpu=2)) == "four"
