"""How what segments say is gathered into events, and in which order it arrives."""

from __future__ import annotations

import json

import pytest

from tuneflow.executors.dask_outbox import Outbox


class FakeWorker:
    """A Dask worker whose loop runs when the test says so."""

    address = "tcp://w:1"

    def __init__(self):
        self.events = []
        self.callbacks = []
        self.loop = self

    def log_event(self, topic, event):
        self.events.append((topic, json.loads(event)))

    def add_callback(self, callback):
        self.callbacks.append(callback)

    def call_later(self, seconds, callback):
        assert seconds > 0
        self.callbacks.append(callback)

    def turn(self):
        while self.callbacks:
            self.callbacks.pop(0)()


@pytest.fixture
def worker():
    return FakeWorker()


def message(launch, *reports, outcome=None):
    data = [{"resource": resource} for resource in reports]
    about = {"launch": launch, "worker": "tcp://w:1", "preempted": False}
    return {**about, "reports": data, "outcome": outcome}


def test_the_first_message_is_sent_at_once(worker):
    Outbox(worker, "topic").say(3)
    assert worker.events == [("topic", [message(3)])]


def test_what_follows_closely_is_sent_together_and_in_order(worker):
    outbox = Outbox(worker, "topic")
    outbox.say(1)
    outbox.say(1, {"resource": 1})
    outbox.say(1, {"resource": 2})
    outbox.say(1, outcome={"status": "completed"})
    outbox.say(2)
    assert len(worker.events) == 1
    worker.turn()
    said = [message(1, 1, 2, outcome={"status": "completed"}), message(2)]
    assert worker.events[1:] == [("topic", said)]


def test_nothing_is_left_when_the_task_ends_and_nothing_is_sent_twice(worker):
    with Outbox(worker, "topic") as outbox:
        outbox.say(1)
        outbox.say(1, {"resource": 1})
    assert worker.events[1:] == [("topic", [message(1, 1)])]
    worker.turn()
    assert len(worker.events) == 2


def test_what_was_said_before_an_error_is_sent(worker):
    outbox = Outbox(worker, "topic")
    outbox.say(1)

    def fail():
        with outbox:
            outbox.say(1, {"resource": 1})
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert worker.events[1:] == [("topic", [message(1, 1)])]
