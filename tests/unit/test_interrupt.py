"""Interrupts that come from another thread: noted at once, raised where the driver waits."""

from __future__ import annotations

import threading

import pytest

from tuneflow.interrupt import Interrupts


def test_a_request_is_raised_where_the_driver_waits_next():
    interrupts = Interrupts()
    with interrupts.allowed():
        pass
    thread = threading.Thread(target=interrupts.request)
    thread.start()
    thread.join()
    with pytest.raises(KeyboardInterrupt), interrupts.allowed():
        raise AssertionError("the driver waits")


def test_a_request_lets_the_wait_in_progress_end_as_it_does():
    interrupts, woken = Interrupts(), threading.Event()
    with interrupts.waking(woken.set), interrupts.allowed():
        threading.Timer(0, interrupts.request).start()
        assert woken.wait(10)


def test_nobody_is_woken_once_the_driver_has_ended():
    interrupts, woken = Interrupts(), threading.Event()
    with interrupts.waking(woken.set):
        pass
    interrupts.request()
    assert not woken.is_set()
