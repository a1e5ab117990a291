"""Quasi-random search: a sequence that fills the space more evenly than random draws.

The sequence is Sobol's ("On the distribution of points in a cube and the approximate evaluation
of integrals", 1967), with the direction numbers of Joe and Kuo ("Constructing Sobol sequences
with better two-dimensional projections", 2008), which SciPy carries. It is randomised by a
digital shift (see Owen, "Randomly permuted (t,m,s)-nets and (t,s)-sequences", 1995, for the
family): in each dimension all points are combined, by exclusive or, with one random number.
That keeps the sequence evenly spread, and unlike SciPy's own scrambling it depends on
``random.Random.random`` alone, which never changes between releases.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from tuneflow.errors import MissingDependencyError, SpecError
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.trial import Params

_BITS: Final = 32
"""Digits of a coordinate, and so the logarithm of the sequence's length."""

_LARGEST_DIMENSION: Final = 21_201
"""For how many dimensions Joe and Kuo computed direction numbers."""


@dataclass(frozen=True, kw_only=True)
class Sobol(Searcher):
    """Takes trial n from point n of a randomised Sobol sequence.

    Each parameter has a dimension of its own, those of all branches too; a configuration leaves
    the dimensions of other options unused. The point is a function of the study's seed and of
    n, which counts from the first trial that is no point to evaluate. The first 2**k points are
    spread most evenly, so powers of two are good numbers of trials.

    Needs SciPy: ``pip install 'tuneflow[optuna]'``.
    """

    type: ClassVar[str] = "sobol"
    multi_objective: ClassVar[bool] = True

    def propose(self, space: Space, history: History, rng: random.Random) -> Params:
        """Return a configuration; there is always another one."""
        paths = list(space.domains())
        number = len(history.trials) - len(self.points_to_evaluate)
        shifts = [_shift(history.seed, path) for path in paths]
        units = dict(zip(paths, _shifted(_point(len(paths), number), shifts), strict=True))
        return space.build(lambda path, domain: domain.from_unit(units[path]))

    def check(self, space: Space) -> None:
        """Raise SpecError when the space has too many parameters."""
        super().check(space)
        if len(space) > _LARGEST_DIMENSION:
            problem = f"{len(space)} parameters are more than the {_LARGEST_DIMENSION} of a Sobol"
            raise SpecError("space", f"{problem} sequence", "use the searcher 'random'")


def _point(dimensions: int, number: int) -> list[int]:
    """Return a point of the plain sequence, each coordinate times 2**32."""
    if dimensions == 0:
        return []
    engine = _qmc().Sobol(dimensions, scramble=False, bits=_BITS)
    if number > 0:
        engine.fast_forward(number)
    return [int(unit * 2**_BITS) for unit in engine.random(1)[0].tolist()]


def _shifted(point: Sequence[int], shifts: Sequence[int]) -> list[float]:
    """Return the point in (0, 1), in the middle of the cell that its digits name."""
    pairs = zip(point, shifts, strict=True)
    return [((digits ^ shift) + 0.5) / 2**_BITS for digits, shift in pairs]


def _shift(seed: int, path: str) -> int:
    return int(generator(seed, "sobol", path).random() * 2**_BITS)


def _qmc() -> Any:
    try:
        from scipy.stats import qmc
    except ImportError as error:
        raise MissingDependencyError("scipy", "optuna") from error
    return qmc
