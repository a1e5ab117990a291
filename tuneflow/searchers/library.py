"""Searchers that ask a library for proposals, in this process or in one of its own."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar

from tuneflow.errors import MissingDependencyError, SearcherError, SpecError
from tuneflow.history import History
from tuneflow.libraries import library
from tuneflow.libraries.base import Library, Values
from tuneflow.rng import derive_seed
from tuneflow.searchers.axes import Axes
from tuneflow.searchers.base import Searcher
from tuneflow.searchers.conversation import Connection, Conversation, Event
from tuneflow.searchers.environment import Environment
from tuneflow.space import Space
from tuneflow.trial import Params


@dataclass(frozen=True, kw_only=True)
class LibrarySearcher(Searcher):
    """The base of the searchers that ask a library other than Optuna.

    Args:
        environment: an environment that the library has to itself; its process is asked and
            told in lines of JSON. ``{}`` has the versions that the searcher was tested with.
            Default: the library runs in the driver's process.

    A library is a function of the events that it is told, see `Conversation`, so a study that is
    resumed proposes what it would have proposed. It is asked with seeds that follow from the
    study's, and so it repeats itself unless its documentation here says otherwise.
    """

    library: ClassVar[str]
    """The module of `tuneflow.libraries` that adapts it, or the dotted name of one elsewhere."""

    package: ClassVar[str]
    """What to install."""

    extra: ClassVar[str] = ""
    """The extra of tuneflow that brings it; empty for none."""

    conditional: ClassVar[bool] = False
    """Whether it takes spaces with branches."""

    fitted: ClassVar[bool] = False
    """Whether the library is fitted to all trials when it is asked, and so takes its time.

    It does not matter to it then when it is asked, nor what becomes of the answer.
    """

    tested: ClassVar[Environment] = Environment()
    """An environment that it was tested in."""

    environment: Environment | None = None

    @property
    def ahead(self) -> bool:
        """Proposals of a library that is fitted are made ahead."""
        return self.fitted

    def check(self, space: Space) -> None:
        """Raise SpecError when the space has branches and the library knows none."""
        super().check(space)
        if not self.conditional and any(own.parent for own in Axes(space).parameters):
            problem = f"'{self.type}' cannot search a space with branches"
            fix = "use tpe, hyperopt, smac, random, or take the branches out of the space"
            raise SpecError("searcher", problem, fix)

    def prepare(self) -> None:
        """Import the library, or make its environment and start its process.

        Raises:
            MissingDependencyError: the library is not installed.
            SearcherError: it cannot be imported, or the environment cannot be made.
        """
        if self.environment is None:
            self._library()
        else:
            self._isolated().prepare(self.library, self._environment())

    def propose(self, space: Space, history: History, rng: random.Random) -> Params:
        """Return what the library proposes.

        Raises:
            MissingDependencyError: the library is not installed.
            SearcherError: the library failed.
        """
        # An identity is good for a key because the conversation holds on to both objects.
        key = ("library", id(self), id(space))
        conversation = history.index(key, lambda: self._conversation(space, history))
        return conversation.ask(len(history.trials))

    @property
    def options(self) -> dict[str, Any]:
        """The library's settings: the fields of the subclass."""
        own = {field.name for field in fields(LibrarySearcher)}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in own}

    def settings(self, axes: Axes) -> dict[str, Any]:
        """Return the options as the library takes them: values of parameters encoded."""
        return self.options

    def _conversation(self, space: Space, history: History) -> Conversation:
        axes = Axes(space)
        seed = derive_seed(history.seed, "library") % 2**32
        return Conversation(
            axes,
            history,
            self._connection(axes, seed),
            owner=(self, space),
            given=len(self.points_to_evaluate),
            known=self.known_results,
        )

    def _connection(self, axes: Axes, seed: int) -> Connection:
        parameters, settings = axes.parameters, self.settings(axes)
        if not parameters:
            return _Settled()
        if self.environment is None:
            return _Direct(self.type, partial(self._library(), parameters, settings, seed))
        connection: Connection = self._isolated().connect(
            self.library, self._environment(), parameters, settings, seed
        )
        return connection

    def _environment(self) -> Environment:
        given = self.environment or Environment()
        if given.installs or given.is_given:
            return given
        return replace(self.tested, python=given.python or self.tested.python)

    def _library(self) -> type[Library]:
        try:
            found: type[Library] = library(self.library)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                self.package, self.extra, f"environment: {{}} to give {self.type} its own"
            ) from error
        except ImportError as error:
            raise SearcherError(f"{self.package} cannot be imported: {error}") from error
        return found

    @staticmethod
    def _isolated() -> Any:
        # It starts processes, which is nothing for the core: it is opened by name, when needed.
        return importlib.import_module("tuneflow.environments")


@dataclass(slots=True)
class _Settled:
    """The connection for a space that has one configuration only."""

    def ask(self, events: Sequence[Event], seed: int) -> Values:
        return {}


class _Direct:
    """A library in this process.

    Args:
        name: the searcher, for errors.
        make: makes the library, when it is first asked.
    """

    def __init__(self, name: str, make: Callable[[], Library]) -> None:
        self._name = name
        self._make = make
        self._library: Library | None = None
        self._taken = 0

    def ask(self, events: Sequence[Event], seed: int) -> Values:
        try:
            self._library = self._library or self._make()
            for name, *arguments in events[self._taken :]:
                getattr(self._library, name)(*arguments)
                self._taken += 1
            return self._library.ask(seed)
        except Exception as error:
            name = f"{type(error).__name__}: {error}"
            raise SearcherError(f"the library of searcher '{self._name}': {name}") from error


def require_least(name: str, value: float, least: float) -> None:
    """Raise a SpecError for a searcher's field unless it is ``least`` or more."""
    if not value >= least:
        raise SpecError(f"searcher.{name}", f"{value!r} is not {least:g} or more")
