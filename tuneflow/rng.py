"""Random generators that depend on nothing but the study's seed and the place they are used at.

Every draw in tuneflow comes from a generator that is made anew for one purpose, such as
``(seed, "suggest", trial)``. So a decision never depends on how many draws came before it, and
a replay draws the same numbers. Only ``random()`` may be asked for: Python promises that its
sequence stays the same between releases, and promises it of nothing else.
"""

from __future__ import annotations

import hashlib
import random


def derive_seed(seed: int, *key: str | int) -> int:
    """Return a 64 bit seed that is a fixed function of ``seed`` and ``key``."""
    text = "/".join([str(seed), *map(str, key)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def generator(seed: int, *key: str | int) -> random.Random:
    """Return a generator for the purpose that ``key`` names.

    Ask it for ``random()`` only (a double in [0, 1)); transform that yourself.
    """
    return random.Random(derive_seed(seed, *key))


def choose_index(rng: random.Random, count: int) -> int:
    """Return an index below ``count``, each as likely as the others."""
    return min(int(rng.random() * count), count - 1)
