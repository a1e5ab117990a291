"""Ray Tune's names for domains, with the meaning that Ray Tune documents.

Where Ray 2's code departs from its documentation, these follow the documentation:

* ``qrandint`` reaches its upper bound, and treats all inner multiples of ``q`` alike (Ray draws
  from a range without the upper bound, and rounds halves to even);
* ``q=1`` rounds like any other ``q`` (Ray skips the rounding, and the upper bound with it);
* bounds need not be multiples of ``q``: the multiples between them are the values.

Integers on a log scale are drawn from ``[lower - 0.5, upper - 0.5)`` and rounded, where Ray
draws from ``[lower, upper)`` and rounds down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from tuneflow.errors import SpecError
from tuneflow.space.domains import Categorical, Derived, Grid
from tuneflow.space.numeric import Float, Int, Normal
from tuneflow.space.tree import Branch
from tuneflow.space.values import whole


def uniform(lower: float, upper: float) -> Float:
    """Return a float drawn uniformly from ``lower`` to ``upper``."""
    return Float(lower, upper)


def quniform(lower: float, upper: float, q: float) -> Float:
    """Return a float drawn uniformly and rounded to a multiple of ``q``; ``upper`` included."""
    return Float(lower, upper, q=q)


def loguniform(lower: float, upper: float) -> Float:
    """Return a float drawn uniformly on the log scale; ``lower`` must be above 0."""
    return Float(lower, upper, log=True)


def qloguniform(lower: float, upper: float, q: float) -> Float:
    """Return a float drawn on the log scale and rounded to a multiple of ``q``."""
    return Float(lower, upper, log=True, q=q)


def randn(mean: float = 0.0, sd: float = 1.0) -> Normal:
    """Return a float drawn from a normal distribution."""
    return Normal(mean, sd)


def qrandn(mean: float, sd: float, q: float) -> Normal:
    """Return a float drawn from a normal distribution and rounded to a multiple of ``q``."""
    return Normal(mean, sd, q=q)


def randint(lower: int, upper: int) -> Int:
    """Return an integer drawn uniformly from ``lower`` to ``upper``, ``upper`` EXCLUDED."""
    return Int(lower, _last(lower, upper))


def qrandint(lower: int, upper: int, q: int = 1) -> Int:
    """Return an integer drawn uniformly and rounded to a multiple of ``q``; ``upper`` included."""
    return Int(lower, upper, q=q)


def lograndint(lower: int, upper: int) -> Int:
    """Return an integer drawn on the log scale, ``upper`` EXCLUDED; ``lower`` is 1 or more."""
    return Int(lower, _last(lower, upper), log=True)


def qlograndint(lower: int, upper: int, q: int) -> Int:
    """Return an integer drawn on the log scale, rounded to a multiple of ``q``; ``upper`` too."""
    return Int(lower, upper, log=True, q=q)


def choice(categories: Sequence[Any]) -> Categorical:
    """Return one of the categories, each as likely as the others.

    A category is used as it stands, so there can be no domains in it; see `branch`.
    """
    return Categorical(cast("tuple[Any, ...]", categories))


def grid_search(values: Sequence[Any]) -> Grid:
    """Return an axis of a grid.

    The searchers ``Grid`` and ``Random`` go through the product of all axes; the others draw from
    it as from `choice`.
    """
    return Grid(cast("tuple[Any, ...]", values))


def sample_from(function: str) -> Derived:
    """Return a value that ``package.module:function`` computes from the configuration.

    A function in memory cannot be found again by a study that is resumed, so it is named. It is
    called with the whole configuration, and must return a JSON value.
    """
    return Derived(function)


def branch(options: Mapping[str, Mapping[str, Any]], key: str = "type") -> Branch:
    """Return a choice between sub-spaces; the configuration has the option's name at ``key``."""
    return Branch(options, key)


def _last(lower: int, upper: int) -> int:
    first, end = whole("lower", lower), whole("upper", upper)
    if end <= first:
        raise SpecError("upper", f"{end} is excluded, and nothing is left from {first}")
    return end - 1
