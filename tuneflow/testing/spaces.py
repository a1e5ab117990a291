"""Search spaces of all shapes, as a strategy for hypothesis."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from tuneflow.space import Categorical, Constant, Domain, Float, Grid, Int, Normal, Space


def spaces(*, countable: bool = False, conditional: bool = True) -> st.SearchStrategy[Space]:
    """Return a strategy for small search spaces, nested ones among them.

    Args:
        countable: whether the values of all domains can be counted.
        conditional: whether there are branches.
    """
    leaves = _COUNTABLE if countable else _COUNTABLE | _UNCOUNTABLE
    nested = leaves | _fields(leaves, 1, 2)
    return _fields(nested | _branches(leaves) if conditional else nested, 1, 3).map(Space)


def _branches(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names, groups = st.sampled_from("uvw"), _fields(leaves, 0, 2)
    options = st.dictionaries(names, groups, min_size=1, max_size=3)
    return options.map(lambda options: {"type": "branch", "options": options})


def _fields(
    values: st.SearchStrategy[Any], least: int, most: int
) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from("abcde"), values, min_size=least, max_size=most)


_COUNTABLE: Final[st.SearchStrategy[Domain]] = st.sampled_from(
    [
        Int(-2, 1),
        Int(0, 9, step=4),
        Int(1, 4, log=True),
        Int(0, 6, q=3),
        Float(0.1, 0.4, step=0.1),
        Float(0, 1, q=0.5),
        Categorical((True, 1, 1.0)),
        Categorical(("a", None, [1, {"b": 2}])),
        Grid((3, "x")),
        Constant([1, 2]),
    ]
)

_UNCOUNTABLE: Final[st.SearchStrategy[Domain]] = st.sampled_from(
    [
        Float(-1, 1),
        Float(1e-4, 10, log=True),
        Float(0.5, 0.5),
        Float(1, 100, log=True, step=0.5),
        Int(1, 10**6, log=True),
        Int(-(2**60), 2**60),
        Normal(1, 2),
        Normal(0, 1, q=0.25),
    ]
)
