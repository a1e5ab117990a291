"""Dragonfly behind the methods of `Library`.

The hyperparameters of its Gaussian process are sampled for many proposals at once, which takes
most of the time. So they are kept until enough new results are known, as Dragonfly itself does:
what is kept is a function of the first so many results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dragonfly import load_config
from dragonfly.exd.experiment_caller import CPFunctionCaller
from dragonfly.opt.gp_bandit import CPGPBandit

from tuneflow.libraries.base import (
    Model,
    Parameter,
    Trial,
    Values,
    from_unit,
    global_seed,
    quiet,
    to_unit,
)


class Dragonfly(Model):
    """A `CPGPBandit` that is made anew and told everything whenever it is asked."""

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        self._domain = {"domain": [_dimension(own) for own in self.parameters]}
        self._settings = {
            "acq": options["acq"],
            "gpb_hp_tune_criterion": options["fit"],
            "build_new_model_every": options["refit_every"],
            **options["bandit"],
        }
        self._order: list[int] = []
        self._key: Any = None
        self._fitter: Any = None

    def told(self, trial: int, loss: float | None) -> None:
        """Note a trial's result, and that it came after the others."""
        super().told(trial, loss)
        if trial not in self._order:
            self._order.append(trial)

    def ask(self, seed: int) -> Values:
        """Return one of the first points, and what the bandit says once enough is known."""
        with quiet():
            bandit = self._bandit(self.seed)
            count, known = len(self.trials), self._results()
            if len(known) >= len(bandit.first_qinfos):
                values = self._values(bandit, self._modelled(bandit, known, seed))
            elif count < len(bandit.first_qinfos):
                values = self._values(bandit, bandit.first_qinfos[count].point)
            else:
                return self._random(seed)
            # Its search for the best point goes by halves, and so comes back to the same ones.
            is_known = any(values == trial.values for trial in self.trials.values())
            return self._random(seed) if is_known else values

    def _random(self, seed: int) -> Values:
        """Return the first point of another design."""
        bandit = self._bandit(seed)
        return self._values(bandit, bandit.first_qinfos[0].point)

    def _values(self, bandit: Any, point: Any) -> Values:
        said = bandit.func_caller.get_raw_domain_point_from_processed(point)
        found = zip(self.parameters, said, strict=True)
        return {own.path: _from(own, value) for own, value in found}

    def _results(self) -> list[Trial]:
        """Return the trials that have a result, in the order in which the first ones came."""
        found = [self.trials[number] for number in self._order]
        return [trial for trial in found if trial.state == "known"]

    def _bandit(self, seed: int) -> Any:
        """Return a bandit that knows its first points and nothing else."""
        with global_seed(seed):
            config = load_config(self._domain)
            caller = CPFunctionCaller(None, config.domain, domain_orderings=config.domain_orderings)
            bandit = CPGPBandit(
                caller, options=self._settings, reporter="silent", ask_tell_mode=True
            )
            bandit.initialise()
        return bandit

    def _modelled(self, bandit: Any, known: Sequence[Trial], seed: int) -> Any:
        """Return the point that is best by the model."""
        least, every = len(bandit.first_qinfos), self.options["refit_every"]
        fitted = least + (len(known) - least) // every * every
        fitter = self._fitted_to(known[:fitted])
        bandit.tell([*map(self._told, known), *self._failures(known)])
        bandit.step_idx = len(known)
        for point in (self._point(trial) for trial in self.pending()):
            processed = bandit.func_caller.get_processed_domain_point_from_raw(point)
            bandit.eval_points_in_progress.append(processed)
        bandit.gp_processor = _Processor(fitter)
        with global_seed(seed), _turned(fitter, len(known) - fitted):
            bandit._main_loop_pre()
            # A process that was fitted to fewer results is not told the others by itself.
            bandit._child_set_gp_data(bandit._get_gp_reg_data())
            return bandit._determine_next_query().point

    def _fitted_to(self, known: Sequence[Trial]) -> Any:
        """Return what fits a Gaussian process, which has done so for these results."""
        key = [(trial.values, trial.loss) for trial in known]
        if key != self._key:
            bandit = self._bandit(self.seed)
            bandit.tell([self._told(trial) for trial in known])
            with global_seed((self.seed + len(known)) % 2**32):
                bandit._build_new_model()
            self._key, self._fitter = key, bandit.gp_processor.gp_fitter
        return self._fitter

    def _told(self, trial: Trial) -> tuple[list[Any], float]:
        """Return a result as Dragonfly has it, which makes values large."""
        return self._point(trial), -(trial.loss or 0.0)

    def _failures(self, known: Sequence[Trial]) -> list[tuple[list[Any], float]]:
        """Return the failed trials with the worst of the known results."""
        worst = min(value for _, value in map(self._told, known))
        return [(self._point(trial), worst) for trial in self.failed()]

    def _point(self, trial: Trial) -> list[Any]:
        return [_to(own, trial.values[own.path]) for own in self.parameters]


class _Processor:
    """What a bandit keeps a fitter in."""

    def __init__(self, fitter: Any) -> None:
        self.gp_fitter = fitter


@contextmanager
def _turned(fitter: Any, count: int) -> Iterator[None]:
    """Have a fitter use the sample after so many others first, and leave it as it was."""
    before = fitter.hp_tune_results
    fitter.hp_tune_results = {name: _turn(found, count) for name, found in before.items()}
    try:
        yield
    finally:
        fitter.hp_tune_results = before


def _turn(found: tuple[str, Any], count: int) -> tuple[str, Any]:
    kind, samples = found
    if not isinstance(samples, list):
        return found
    first = count % len(samples)
    return kind, samples[first:] + samples[:first]


def _dimension(own: Parameter) -> dict[str, Any]:
    """Return a parameter as Dragonfly has it, which knows no scales but the linear one."""
    if own.kind == "choice":
        items = [str(position) for position in range(own.size)]
        return {"name": own.path, "type": "discrete", "items": items}
    if own.kind == "int" and not own.log:
        return {"name": own.path, "type": "int", "min": int(own.low), "max": int(own.high)}
    return {"name": own.path, "type": "float", "min": 0.0, "max": 1.0}


def _to(own: Parameter, value: float) -> Any:
    if own.kind == "choice":
        return str(value)
    return int(value) if own.kind == "int" and not own.log else to_unit(own, value)


def _from(own: Parameter, value: Any) -> float | int:
    is_whole = own.kind == "choice" or (own.kind == "int" and not own.log)
    return int(value) if is_whole else from_unit(own, float(value))


LIBRARY = Dragonfly
