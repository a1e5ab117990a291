"""Non-dominated sorting by its definition, to compare with."""

from __future__ import annotations

from tuneflow.pareto import dominates


def undominated(among, cloud):
    """Return whom nobody among them dominates, by comparing all with all."""
    return [p for p in among if not any(dominates(cloud[other], cloud[p]) for other in among)]


def peeled(cloud):
    """Return the fronts by taking one after the other away."""
    left, found = list(range(len(cloud))), []
    while left:
        found.append(undominated(left, cloud))
        left = [p for p in left if p not in found[-1]]
    return found
