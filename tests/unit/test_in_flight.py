"""Transfers wait for memory, not for one another."""

from __future__ import annotations

import threading

import pytest

from tests.clusters import until
from tuneflow.in_flight import Budget


class TestBudget:
    def test_holds_no_more_than_its_limit_and_serves_in_the_order_of_asking(self):
        budget = Budget(10)
        entered, leave = [], {name: threading.Event() for name in "abc"}

        def hold(name, size):
            with budget.take(size):
                entered.append(name)
                leave[name].wait(30)

        threads = []
        for name, size in (("a", 6), ("b", 6), ("c", 4)):
            threads.append(threading.Thread(target=hold, args=(name, size)))
            threads[-1].start()
            # b waits for a, and c does not overtake it though there is room for it.
            waiting = len(threads)
            until(lambda waiting=waiting: len(entered) + len(budget._queue) == waiting)
        assert entered == ["a"]
        leave["a"].set()
        until(lambda: sorted(entered) == ["a", "b", "c"])
        for event in leave.values():
            event.set()
        for thread in threads:
            thread.join(30)

    def test_who_wants_more_than_there_is_gets_all_of_it(self):
        budget = Budget(10)
        with budget.take(1000):
            pass
        with budget.take(10):
            pass

    def test_gives_back_what_a_failed_block_held(self):
        budget = Budget(10)
        with pytest.raises(ZeroDivisionError), budget.take(10):
            _ = 1 / 0
        with budget.take(10):
            pass
