"""Optuna's samplers by name, each made anew for every trial."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tuneflow.errors import MissingDependencyError, SpecError, did_you_mean
from tuneflow.rng import derive_seed

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SamplerClass: TypeAlias = type[Any]
"""A class of Optuna's samplers."""

_LARGEST_SEED: Final = 2**32
"""NumPy's RandomState, which Optuna's samplers draw from, takes seeds below this."""


@dataclass(frozen=True)
class Kind:
    """What is to be known of one of Optuna's own samplers.

    Attributes:
        name: its class in `optuna.samplers`.
        needs: packages that Optuna imports only when the sampler is used.
        keeps_notes: whether it reads again what it has noted on trials or on the study.
        several: whether it takes several metrics.
        constrained: whether it heeds constraints.
        options: what is set unless the user says otherwise.
    """

    name: str
    needs: tuple[str, ...] = ()
    keeps_notes: bool = False
    several: bool = True
    constrained: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


CONSTRAINTS: Final = "constraints"
"""The note on a trial from which Optuna reads its constraints: numbers, kept where 0 or less."""

_QUIET: Final = {"warn_independent_sampling": False}

KINDS: Final[Mapping[str, Kind]] = {
    "tpe": Kind("TPESampler", options={"multivariate": True, "group": True, "constant_liar": True}),
    "random": Kind("RandomSampler", constrained=False),
    "gp": Kind("GPSampler", ("scipy", "torch"), options=_QUIET),
    "cmaes": Kind(
        "CmaEsSampler",
        ("cmaes",),
        keeps_notes=True,
        several=False,
        constrained=False,
        options=_QUIET,
    ),
    "qmc": Kind(
        "QMCSampler",
        ("scipy",),
        keeps_notes=True,
        constrained=False,
        options={"scramble": True, **_QUIET},
    ),
    "nsgaii": Kind("NSGAIISampler", keeps_notes=True),
    "nsgaiii": Kind("NSGAIIISampler", keeps_notes=True),
}
"""The samplers that have a short name."""

_SHORT: Final = {kind.name: name for name, kind in KINDS.items()}

_REFUSED: Final = {
    "GridSampler": "use the searcher 'grid'",
    "BruteForceSampler": "use the searcher 'grid'",
    "PartialFixedSampler": "make the fixed parameters constants of the space",
}


def sampler_name(sampler: str | SamplerClass) -> str:
    """Return the name of a sampler that may be given as its class: a short one or a path."""
    if not isinstance(sampler, type):
        return sampler
    if sampler.__module__.partition(".")[0] == "optuna":
        return _SHORT.get(sampler.__name__, f"optuna.samplers:{sampler.__name__}")
    return f"{sampler.__module__}:{sampler.__qualname__}"


@dataclass(frozen=True)
class Recipe:
    """How a sampler is made.

    Args:
        sampler: a short name, or ``package.module:Class``.
        options: arguments of its class.
        constrained: whether the study has constraints.
    """

    sampler: str
    options: Mapping[str, Any]
    constrained: bool = False

    @property
    def kind(self) -> Kind:
        """What is known of the sampler; of one from elsewhere, that it keeps notes."""
        return KINDS.get(self.sampler) or Kind(self.sampler, keeps_notes=True)

    def check(self) -> None:
        """Raise SpecError when the name or an option cannot be right; import nothing."""
        if self.sampler not in KINDS and ":" not in self.sampler:
            raise SpecError(
                "searcher.sampler",
                f"there is no sampler '{self.sampler}'",
                f"{did_you_mean(self.sampler, KINDS)} Or write package.module:Class",
            )
        name = self.sampler.rpartition(":")[2]
        if name in _REFUSED:
            raise SpecError("searcher.sampler", f"{name} cannot be used", _REFUSED[name])
        if "seed" in self.options:
            problem = "the seed of a sampler follows from that of the study"
            raise SpecError("searcher.options.seed", problem, "give the study a seed")

    def make(self, seed: int, number: int) -> BaseSampler:
        """Return the sampler for one trial.

        Args:
            seed: the study's seed.
            number: the trial's number.

        Raises:
            MissingDependencyError: Optuna is not installed, or a package that the sampler needs.
            SpecError: the sampler cannot be found, or does not take the options.
        """
        cls = self._load()
        options = {**self.kind.options, **self.options}
        options |= _seeds(cls, derive_seed(seed, "optuna") % _LARGEST_SEED, _own(seed, number))
        options |= _constraints(cls) if self.constrained else {}
        with warnings.catch_warnings():
            from optuna.exceptions import ExperimentalWarning

            warnings.simplefilter("ignore", ExperimentalWarning)
            return self._called(cls, options)

    def _called(self, cls: type[BaseSampler], options: Mapping[str, Any]) -> BaseSampler:
        try:
            return cls(**options)
        except TypeError as error:
            known = [name for name in inspect.signature(cls).parameters if name != "seed"]
            for name in self.options:
                if name not in known:
                    problem = f"{cls.__name__} has no such option"
                    fix = did_you_mean(name, known)
                    raise SpecError(f"searcher.options.{name}", problem, fix) from error
            raise SpecError("searcher.options", str(error)) from error
        except ValueError as error:
            raise SpecError("searcher.options", str(error)) from error

    def _load(self) -> type[BaseSampler]:
        try:
            from optuna import samplers
        except ImportError as error:
            raise MissingDependencyError("optuna", "optuna", "the searcher 'random'") from error
        if self.sampler not in KINDS:
            return _imported(self.sampler)
        for package in self.kind.needs:
            if find_spec(package) is None:
                raise MissingDependencyError(package, "" if package == "torch" else "optuna")
        found: type[BaseSampler] = getattr(samplers, self.kind.name)
        return found


def _imported(path: str) -> type[BaseSampler]:
    from optuna.samplers import BaseSampler

    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError("searcher.sampler", f"'{path}' cannot be imported: {error}") from error
    if not isinstance(found, type) or not issubclass(found, BaseSampler):
        raise SpecError("searcher.sampler", f"'{path}' is no sampler of Optuna")
    return found


def _own(seed: int, number: int) -> int:
    return derive_seed(seed, "optuna", number) % _LARGEST_SEED


def _seeds(cls: type[BaseSampler], study_seed: int, trial_seed: int) -> dict[str, Any]:
    """Return the arguments that make a sampler repeat its proposals.

    A quasi-random sequence is one sequence only when all its points have one seed; only what is
    drawn beside it may differ. All others would repeat themselves with one seed.
    """
    from optuna.samplers import QMCSampler, RandomSampler

    if issubclass(cls, QMCSampler):
        return {"seed": study_seed, "independent_sampler": RandomSampler(trial_seed)}
    return {"seed": trial_seed} if "seed" in inspect.signature(cls).parameters else {}


def _constraints(cls: type[BaseSampler]) -> dict[str, Any]:
    """Return the argument without which Optuna 4 does not look at the constraints of trials."""
    from optuna.trial import FrozenTrial

    if hasattr(FrozenTrial, "constraints"):
        return {}
    is_taken = "constraints_func" in inspect.signature(cls).parameters
    return {"constraints_func": _noted} if is_taken else {}


def _noted(trial: FrozenTrial) -> Any:
    return trial.system_attrs[CONSTRAINTS]
