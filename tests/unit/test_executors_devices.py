"""How GPUs are shared among workers and lent to trials; no GPU is needed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tuneflow.executors.devices import Allocator, share, visible_devices


class TestVisibleDevices:
    @pytest.mark.parametrize(
        ("listed", "devices"),
        [("0,1", ("0", "1")), ("GPU-3a, GPU-4b", ("GPU-3a", "GPU-4b")), ("", ())],
    )
    def test_the_environment_says_which(self, monkeypatch, listed, devices):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
        assert visible_devices() == devices

    def test_without_the_driver_there_are_none(self, monkeypatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("PATH", "/nowhere")
        assert visible_devices() == ()

    def test_else_the_driver_is_asked(self, monkeypatch, tmp_path):
        tool = tmp_path / "nvidia-smi"
        tool.write_text("#!/bin/sh\necho 'GPU 0: A100 (UUID: x)'\necho 'GPU 1: A100 (UUID: y)'\n")
        tool.chmod(0o755)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert visible_devices() == ("0", "1")


class TestShare:
    def test_each_worker_sees_devices_of_its_own(self):
        assert share(["0", "1", "2"], 2) == [(("0", "2"), 2.0), (("1",), 1.0)]

    def test_more_workers_than_devices_share_them(self):
        assert share(["0", "1"], 3) == [(("0",), 0.5), (("1",), 1.0), (("0",), 0.5)]

    @pytest.mark.parametrize("devices", [1, 2, 3, 8])
    @pytest.mark.parametrize("workers", [1, 2, 3, 5])
    def test_no_more_is_handed_out_than_there_is(self, devices, workers):
        parts = share([str(number) for number in range(devices)], workers)
        assert len(parts) == workers
        assert sum(amount for _, amount in parts) == pytest.approx(devices)


class TestAllocator:
    def test_whole_devices_are_lent_to_one_at_a_time(self):
        allocator = Allocator(["0", "1", "2"])
        with allocator.lend(2) as first, allocator.lend(1) as second:
            assert len(first) == 2
            assert set(first) | set(second) == {"0", "1", "2"}

    def test_fractions_are_packed_so_that_whole_devices_stay_free(self):
        allocator = Allocator(["0", "1"])
        with allocator.lend(0.25) as one, allocator.lend(0.5) as two, allocator.lend(1) as whole:
            assert one == two
            assert whole != one

    def test_shares_that_do_not_add_up_in_floats_still_fill_a_device(self):
        allocator = Allocator(["0"])
        with ExitStack() as stack:
            held = [stack.enter_context(allocator.lend(0.1)) for _ in range(10)]
        assert held == [("0",)] * 10
        with allocator.lend(1) as whole:
            assert whole == ("0",)

    def test_what_is_given_back_can_be_lent_again_also_after_an_error(self):
        allocator = Allocator(["0"])
        with pytest.raises(RuntimeError), allocator.lend(1):
            raise RuntimeError
        with allocator.lend(1) as again:
            assert again == ("0",)

    def test_one_waits_until_enough_is_given_back(self):
        allocator = Allocator(["0"])
        asking = threading.Event()

        def ask():
            asking.set()
            with allocator.lend(1) as held:
                return held

        with ThreadPoolExecutor(1) as pool:
            with allocator.lend(0.5):
                waiter = pool.submit(ask)
                asking.wait()
                assert not waiter.done()
            assert waiter.result(timeout=10) == ("0",)

    def test_more_than_there_is_is_refused(self):
        with pytest.raises(ValueError, match="2 GPUs were asked for, and there are 1"):
            Allocator(["0"]).lend(2).__enter__()
