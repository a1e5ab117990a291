"""An environment that a searcher's library has to itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from tuneflow.errors import SpecError

_VERSION = re.compile(r"3\.\d+(\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment that is made once and cached, for a library that needs its own.

    Args:
        python: which Python: a version such as "3.11", or the path of an interpreter. Default:
            the one that tuneflow runs on. A path by itself, without anything to install, is that
            of an environment which is there already, and is used as it is.
        requirements: what is installed, as pip writes it. Default: the versions that the
            searcher was tested with.
        build: what is installed first, because the requirements need it to be built; their builds
            then see these and nothing else. Default: nothing; builds are isolated.
        no_deps: requirements that are installed last and without what they themselves require.
    """

    python: str | None = None
    requirements: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    no_deps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        python = self.python
        if python is not None and "/" not in python and not _VERSION.fullmatch(python):
            problem = f"{python!r} is neither a version nor a path"
            raise SpecError("environment.python", problem, 'write a text such as "3.11"')
        for name in ("requirements", "build", "no_deps"):
            if isinstance(getattr(self, name), str):
                problem = f"{getattr(self, name)!r} is a text"
                raise SpecError(f"environment.{name}", problem, "write a list of requirements")
            for line in getattr(self, name):
                if not line.strip() or "\n" in line or line.lstrip().startswith("-"):
                    problem = f"{line!r} is no requirement"
                    raise SpecError(f"environment.{name}", problem, 'write "package==1.2.3"')

    @property
    def installs(self) -> bool:
        """Whether it says what is installed."""
        return bool(self.requirements or self.build or self.no_deps)

    @property
    def is_given(self) -> bool:
        """Whether it is there already, at a path."""
        return not self.installs and self.python is not None and "/" in self.python

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: every field that is set."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: list(value) for name, value in given.items() if isinstance(value, tuple)}
        return {name: value for name, value in {**given, **lists}.items() if value}
