"""Whether a challenger is better than the champion: a paired test, one pair for each seed.

Both were measured with the same seeds, so what a seed does to both is no part of their
difference. The null hypothesis is that the challenger is better by no more than the margin; only
where the data would be rarer under it than the stated confidence leaves room for is the
challenger called better.

* ``t``: the one-sided paired t-test (Student, "The probable error of a mean", 1908). It takes the
  differences for normally distributed, and needs SciPy.
* ``permutation``: the exact test over all sign flips of the differences (Fisher, "The design of
  experiments", 1935). It supposes only that under the null hypothesis a difference is as likely as
  its opposite. With n seeds its p value is never below 2**-n.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from typing import Any, Final, Literal, Self, TypeAlias

from tuneflow.errors import CorruptError, MissingDependencyError, SpecError, did_you_mean
from tuneflow.trial import Mode

Test: TypeAlias = Literal["t", "permutation"]
"""Which test decides."""

_NAMES: Final[Mapping[str, str]] = {"t": "paired t-test", "permutation": "paired permutation test"}
_MOST_PERMUTED: Final = 40
"""With so many seeds the permutation test lists a million sums; the t-test is as good there."""
_ROUNDING: Final = 2.0**-48
"""What arithmetic may do to a difference, relative to the values."""


@dataclass(frozen=True)
class Comparison:
    """How a challenger compares with the champion.

    Attributes:
        test: "t" or "permutation".
        n: how many seeds gave a usable value with both.
        difference: the mean difference, positive where the challenger is better; None without
            pairs.
        standard_error: that of the mean difference; None with fewer than two pairs.
        p_value: how likely a difference as large is if the challenger is better by no more than
            the margin; None where nothing was tested, as there is no pair or no chance in it.
        confidence: how sure it must be that the challenger is better.
        margin: by how much it must be better.
        is_better: the verdict.
        reason: why, in a sentence.
    """

    test: Test
    n: int
    difference: float | None
    standard_error: float | None
    p_value: float | None
    confidence: float
    margin: float
    is_better: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read what `to_json` wrote. Raises CorruptError for anything else."""
        names = {one.name for one in fields(cls)}
        if not isinstance(data, dict) or data.keys() != names:
            raise CorruptError(f"a comparison has the fields {', '.join(sorted(names))}")
        return cls(**data)


def check_test(test: str, seeds: int, confidence: float) -> None:
    """Make sure that a test can find anything with so many seeds, before any trial runs.

    Args:
        test: "t" or "permutation".
        seeds: how many seeds champion and challenger are measured with.
        confidence: how sure it must be, from 0.5 to below 1.

    Raises:
        SpecError: the test is not known, the confidence is none, or the seeds are too few for it.
        MissingDependencyError: the test needs SciPy, which is not installed.
    """
    if test not in _NAMES:
        raise SpecError("test", f"{test!r} is no test", did_you_mean(str(test), _NAMES))
    if not _is_number(confidence) or not 0.5 <= confidence < 1:
        problem = f"{confidence!r} is not a number from 0.5 to below 1"
        raise SpecError("confidence", problem, "0.95 is usual")
    least = _fewest(test, confidence)
    if seeds < least:
        problem = f"with {_seeds(seeds)} the {_NAMES[test]} is never {_percent(confidence)} sure"
        raise SpecError("seeds", problem, f"give {least} or more")
    if test == "permutation" and seeds > _MOST_PERMUTED:
        problem = f"{seeds} are more than the {_MOST_PERMUTED} of the {_NAMES[test]}"
        raise SpecError("seeds", problem, "use the test 't'")
    if test == "t" and find_spec("scipy") is None:
        raise MissingDependencyError("scipy", "retune", "the test 'permutation'")


def compare(
    champion: Sequence[float],
    challenger: Sequence[float],
    *,
    mode: Mode,
    margin: float = 0.0,
    confidence: float = 0.95,
    test: Test = "t",
    replace_unmeasured: bool = False,
) -> Comparison:
    """Say whether the challenger is better than the champion.

    Pairs in which a value is missing are left out. Chance has other rules than these, so:

    * A challenger that fails with more of the seeds than the champion is not better, whatever its
      other values are: they would be those that it did not fail at.
    * Where no value depends on its seed there is no chance in them, and the better one is better.
    * Where values do and all differences are the same, as a coarse metric makes them, the t-test
      would be sure after two seeds. The permutation test decides then.

    Args:
        champion: its values, one for each seed; NaN or infinity where there is no usable one.
        challenger: those of the challenger, with the same seeds in the same order.
        mode: whether a smaller ("min") or a larger ("max") value is better.
        margin: by how much the challenger must be better, in the metric's unit. Default 0.
        confidence: how sure that must be. Of the challengers that are better by no more than the
            margin, at most the rest to 1 is called better. Default 0.95.
        test: which test. Default "t".
        replace_unmeasured: what to do when the champion has no usable value at all, and the
            challenger has one with each seed. By default the champion stays: there is no
            evidence against it, only none for it.

    Raises:
        SpecError: see `check_test`; or the two have not the same number of values.
        MissingDependencyError: see `check_test`.
    """
    if len(champion) != len(challenger):
        problem = f"the champion has {len(champion)} values and the challenger {len(challenger)}"
        raise SpecError("challenger", problem, "measure both with the same seeds")
    check_test(test, max(len(champion), _fewest(test, confidence)), confidence)
    pairs = _Pairs.of(champion, challenger, mode, margin)
    p_value, is_better, reason = _decide(pairs, confidence, test, replace_unmeasured)
    return Comparison(
        test=test,
        n=pairs.n,
        difference=pairs.difference,
        standard_error=pairs.standard_error,
        p_value=p_value,
        confidence=confidence,
        margin=margin,
        is_better=is_better,
        reason=reason,
    )


@dataclass(frozen=True)
class _Pairs:
    """The values in pairs, and their differences in the challenger's favour."""

    champion: tuple[float, ...]
    challenger: tuple[float, ...]
    margin: float
    seeds: int
    champion_failed: int
    challenger_failed: int
    differences: tuple[float, ...]
    rounding: float

    @classmethod
    def of(
        cls, champion: Sequence[float], challenger: Sequence[float], mode: Mode, margin: float
    ) -> Self:
        """Return the pairs in which both values are usable."""
        every = [(float(a), float(b)) for a, b in zip(champion, challenger, strict=True)]
        usable = [pair for pair in every if all(map(math.isfinite, pair))]
        ours, theirs = tuple(a for a, _ in usable), tuple(b for _, b in usable)
        sign = 1.0 if mode == "max" else -1.0
        return cls(
            champion=ours,
            challenger=theirs,
            margin=margin,
            seeds=len(every),
            champion_failed=sum(not math.isfinite(a) for a, _ in every),
            challenger_failed=sum(not math.isfinite(b) for _, b in every),
            differences=tuple(sign * (b - a) for a, b in usable),
            rounding=_ROUNDING * max(map(abs, (*ours, *theirs, margin))),
        )

    @property
    def n(self) -> int:
        return len(self.differences)

    @property
    def difference(self) -> float | None:
        return statistics.fmean(self.differences) if self.n else None

    @property
    def standard_error(self) -> float | None:
        return statistics.stdev(self.differences) / math.sqrt(self.n) if self.n > 1 else None

    @property
    def excess(self) -> float:
        """By how much the mean difference is above the margin; 0 where that is rounding."""
        excess = (self.difference or 0.0) - self.margin
        return excess if abs(excess) > self.rounding else 0.0

    @property
    def depend_on_seeds(self) -> bool:
        """Whether a value depends on its seed."""
        return not (self.are_same(self.champion) and self.are_same(self.challenger))

    def are_same(self, values: Sequence[float]) -> bool:
        """Say whether values differ by no more than rounding does."""
        return max(values) - min(values) <= self.rounding


_Decision: TypeAlias = tuple[float | None, bool, str]
"""The p value, the verdict, and the reason."""


def _decide(pairs: _Pairs, confidence: float, test: Test, replace_unmeasured: bool) -> _Decision:
    if pairs.champion_failed == pairs.seeds > 0 == pairs.challenger_failed:
        return None, replace_unmeasured, _unmeasured(pairs, replace_unmeasured)
    if pairs.challenger_failed > pairs.champion_failed:
        return None, False, _failed_more(pairs)
    if pairs.n < 2:
        return None, False, f"{_seeds(pairs.n)} with usable values of both are too few to compare"
    if not pairs.depend_on_seeds:
        is_better = pairs.excess > 0
        return None, is_better, f"{_found(pairs, is_better, '')}; no value depends on its seed"
    return _tested(pairs, confidence, test)


def _tested(pairs: _Pairs, confidence: float, test: Test) -> _Decision:
    decides: Test = "permutation" if pairs.are_same(pairs.differences) else test
    p_value = _p_of_t(pairs) if decides == "t" else _p_of_permutation(pairs)
    is_better = pairs.excess > 0 and p_value <= 1 - confidence
    found = _found(pairs, is_better, f" with {_percent(confidence)} confidence")
    how = f"{_NAMES[decides]}, {_seeds(pairs.n)}, p = {p_value:.2g}"
    return p_value, is_better, f"{found} ({how})"


def _p_of_t(pairs: _Pairs) -> float:
    from scipy.stats import t

    return float(t.sf(pairs.excess / (pairs.standard_error or 1.0), pairs.n - 1))


def _p_of_permutation(pairs: _Pairs) -> float:
    """Return the share of all sign flips whose sum is as large as the one that was found."""
    if pairs.are_same(pairs.differences):
        return 2.0**-pairs.n if pairs.excess > 0 else 1.0
    shifted = [difference - pairs.margin for difference in pairs.differences]
    least = math.fsum(shifted) - pairs.n * pairs.rounding
    # The sums of one half, looked up for those of the other: 2**(n/2) steps instead of 2**n.
    ours, theirs = _sums(shifted[::2]), sorted(_sums(shifted[1::2]))
    as_large = sum(len(theirs) - bisect_left(theirs, least - one) for one in ours)
    return float(as_large / 2**pairs.n)


def _sums(values: Sequence[float]) -> list[float]:
    """Return the sums of all sign flips."""
    sums = [0.0]
    for value in values:
        sums = [*(one + value for one in sums), *(one - value for one in sums)]
    return sums


def _found(pairs: _Pairs, is_better: bool, sure: str) -> str:
    """Return what the values say, as the beginning of a sentence."""
    difference, error = pairs.difference or 0.0, pairs.standard_error or 0.0
    if abs(difference) <= pairs.rounding:
        return "the challenger is neither better nor worse"
    size = f"{abs(difference):.3g}" + (f" ± {error:.2g}" if error > pairs.rounding else "")
    if difference < 0:
        return f"the challenger is worse by {size}"
    margin = f"the margin of {pairs.margin:g}" if pairs.margin else ""
    if is_better:
        return f"the challenger is better by {size}" + (f", beyond {margin}" if margin else "")
    return f"the challenger is better by only {size}, not beyond {margin or 'chance'}{sure}"


def _unmeasured(pairs: _Pairs, replace: bool) -> str:
    said = f"the champion has no usable value with any of {_seeds(pairs.seeds)}"
    if replace:
        return f"{said}, and the challenger has one with each"
    return f"{said}, so there is nothing to compare with; it stays unless replace_unmeasured is set"


def _failed_more(pairs: _Pairs) -> str:
    return (
        f"the challenger has no usable value with {pairs.challenger_failed} of "
        f"{_seeds(pairs.seeds)}, the champion with {pairs.champion_failed}"
    )


def _fewest(test: str, confidence: float) -> int:
    """Return how many pairs a test needs to find anything."""
    fewest = 2
    while test == "permutation" and 2.0**-fewest > 1 - confidence:
        fewest += 1
    return fewest


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.6g}%"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
