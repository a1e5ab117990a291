"""Proposals that are made while trials run, so that no GPU waits for a searcher.

Some searchers take seconds for a proposal. Here a thread makes them, over a history of its own
that is fed the facts of the study's. A proposal follows from the facts that it has seen, and it
can be launched whatever has happened since, save that another one was launched: the searcher
might say the same thing twice. When a slot is free,

1. the proposal that knows of every launch and every end is taken, if it is there;
2. else it is waited for, but only for `PATIENCE` times the mean duration of a segment, and only
   where it can be expected by then, going by how long proposals take. What takes no more than
   `LEAST` is made on the spot;
3. else an older one is taken, if there is one;
4. else the configuration is drawn from the priors, and the journal says that it was late.

Slots wait for as long as it takes before a first segment has ended, as there is nothing to compare
with, and where segments take less than `SHORT`: such trials keep no GPU busy anyway.

A report of a trial that runs on makes no proposal old: searchers go by what trials come to, and
some trials report a thousand times a second.
"""

from __future__ import annotations

from tuneflow.ahead.deciding import Ahead, Deciding, deciding
from tuneflow.ahead.patience import LEAST, PATIENCE, SHORT

__all__ = ["LEAST", "PATIENCE", "SHORT", "Ahead", "Deciding", "deciding"]
