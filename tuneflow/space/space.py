"""The search space of a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from tuneflow.errors import SpecError
from tuneflow.space import product
from tuneflow.space.domains import Domain
from tuneflow.space.tree import Branch, Group
from tuneflow.space.values import Json
from tuneflow.space.walk import Choose, build, flatten, is_free


class Space(Group):
    """What is searched: names to domains, nested as configurations are. Immutable.

    A field is a domain (``Float(1e-4, 1e-1, log=True)``) or its JSON form (``{"type": "float",
    "low": 1e-4, …}``), a mapping (a nested space), or any other JSON value (a constant).
    Two spaces are equal when they have the same fields in the same order, as the order decides
    which random number goes to which parameter.

    Args:
        fields: names to domains, nested spaces and constants.

    Raises:
        SpecError: a field is not valid; its path says which.
    """

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make a space from its JSON form, as `to_json` writes it or a person in YAML.

        Bounds and steps written like ``1e-4`` may be strings: PyYAML reads them so.
        """
        return cls(data)

    def domains(self) -> dict[str, Domain]:
        """Return every free domain by path, those of all branches too, in definition order."""
        return {path: domain for path, domain in self.leaves() if is_free(domain)}

    @property
    def is_conditional(self) -> bool:
        """Whether some parameters exist only for certain values of others."""
        return any(isinstance(domain, Branch) for _, domain in self.leaves())

    def __len__(self) -> int:
        return len(self.domains())

    def __bool__(self) -> bool:
        return True

    def build(self, choose: Choose) -> dict[str, Any]:
        """Return the configuration that ``choose`` makes.

        It is asked, in the order of definition, for the value of each free domain, by path
        (``"opt.momentum"``). Of a branch it names an option, and then only the parameters of
        that option are asked for (``"model.svm.C"``). Derived values are computed at the end.
        The values are not checked; a ``choose`` that reads them from elsewhere should.
        """
        return build(self, choose, {})

    def complete(self, partial: Mapping[str, Any], choose: Choose) -> dict[str, Any]:
        """Return a configuration with the values of ``partial``, and ``choose`` for the rest.

        A derived value that is given stands; it is not computed again.

        Raises:
            SpecError: a given value lies outside its domain, or has no place in the space.
        """
        given = flatten(self, partial, partial=True)
        return build(self, lambda path, domain: _given(given, path, domain, choose), given)

    def values(self, config: Mapping[str, Any]) -> dict[str, Json]:
        """Return the choices that `build` would make this configuration of, by path.

        Raises:
            SpecError: the configuration lies outside the space.
        """
        free = self.domains()
        return {path: value for path, value in flatten(self, config).items() if path in free}

    def contains(self, config: Any) -> bool:
        """Whether ``config`` is a configuration of this space, complete and exact."""
        return self.explain(config) is None

    def explain(self, config: Any) -> str | None:
        """Return a sentence on why ``config`` lies outside the space; None when it does not."""
        try:
            flatten(self, config)
        except SpecError as error:
            return str(error)
        return None

    def grid_size(self) -> int:
        """Return how many configurations `grid` yields.

        Raises:
            SpecError: the values of a domain cannot be counted; names it.
        """
        return product.size(self)

    def grid_at(self, index: int) -> dict[str, Any]:
        """Return configuration ``index`` of the grid, without making those before it."""
        if not 0 <= index < self.grid_size():
            raise IndexError(f"the grid has {self.grid_size()} configurations, none is {index}")
        chosen = product.choices(self, index)
        return self.build(lambda path, _: chosen[path])

    def grid(self) -> Iterator[dict[str, Any]]:
        """Return every combination of values; the last parameter varies fastest.

        Raises:
            SpecError: the values of a domain cannot be counted; names it.
        """
        return map(self.grid_at, range(self.grid_size()))


def _given(given: Mapping[str, Json], path: str, domain: Domain, choose: Choose) -> Json:
    return given[path] if path in given else choose(path, domain)
