"""How the segments of a round came to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tuneflow.events import Fact, Launched
from tuneflow.opened import OpenStudy


def entry_of(opened: OpenStudy, number: int) -> Sequence[Fact]:
    """Return the facts of the entry that opened a round; none if no entry did."""
    if number >= opened.rounds:
        return ()
    ends = [0, *opened.round_ends]
    return opened.history.facts[ends[number] : ends[number + 1]]


def launch_notes(facts: Iterable[Fact], resuming: str) -> dict[int, str]:
    """Return a word or two on each trial that was launched, empty for a new one.

    Args:
        facts: those of a round's entry.
        resuming: the scheduler's word for a trial that goes on.
    """
    return {fact.trial: _note(fact, resuming) for fact in facts if isinstance(fact, Launched)}


def _note(fact: Launched, resuming: str) -> str:
    if fact.attempt:
        return f"try {fact.attempt + 1}"
    if fact.source is not None:
        return f"cloned from trial {fact.source}"
    return resuming if fact.segment else ""
