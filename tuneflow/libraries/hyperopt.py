"""hyperopt behind the methods of `Library`.

Its suggestions are functions of all trials and a seed. Trials without a loss count as infinitely
bad ones there, so pending and failed ones need no lie: nobody is sent to where they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hyperopt import anneal, hp, rand, tpe
from hyperopt.base import JOB_STATE_DONE, STATUS_NEW, STATUS_OK, Domain, trials_from_docs

from tuneflow.libraries.base import Model, Parameter, Trial, Values, quiet


class HyperOpt(Model):
    """One of hyperopt's algorithms; options are the fields of the searcher."""

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        self._domain = Domain(lambda _: 0.0, self._group("", -1))
        self._suggest = self._algorithm()

    def ask(self, seed: int) -> Values:
        """Return hyperopt's suggestion."""
        documents = [self._document(tid, t) for tid, t in enumerate(self.trials.values())]
        with quiet():
            trials = trials_from_docs(documents, validate=False)
            [found] = self._suggest([len(documents)], self._domain, trials, seed)
        said = {path: value[0] for path, value in found["misc"]["vals"].items() if len(value)}
        return {own.path: self._plain(own, said) for own in self.parameters if own.path in said}

    def _algorithm(self) -> Any:
        given = self.options
        if given["algorithm"] == "tpe":
            return partial(
                tpe.suggest,
                n_startup_jobs=given["n_startup_jobs"],
                n_EI_candidates=given["n_ei_candidates"],
                gamma=given["gamma"],
                prior_weight=given["prior_weight"],
                verbose=False,
            )
        return {"anneal": anneal.suggest, "rand": rand.suggest}[given["algorithm"]]

    def _group(self, parent: str, option: int) -> dict[str, Any]:
        """Return the parameters that exist at an option, in hyperopt's terms."""
        found = [own for own in self.parameters if (own.parent, own.option) == (parent, option)]
        return {own.path: self._dimension(own) for own in found}

    def _dimension(self, own: Parameter) -> Any:
        if own.kind == "choice":
            return hp.choice(own.path, [self._group(own.path, n) for n in range(own.size)])
        if own.kind == "float":
            if own.log:
                return hp.loguniform(own.path, math.log(own.low), math.log(own.high))
            return hp.uniform(own.path, own.low, own.high)
        low, high = own.low - 0.5, own.high + 0.5
        if own.log:
            return hp.qloguniform(own.path, math.log(low), math.log(high), 1)
        return hp.quniform(own.path, low, high, 1)

    def _document(self, tid: int, trial: Trial) -> dict[str, Any]:
        """Return a trial as hyperopt's own loop would have stored it."""
        found = {own.path: trial.values.get(own.path) for own in self.parameters}
        misc = {
            "tid": tid,
            "cmd": self._domain.cmd,
            "idxs": {path: [] if value is None else [tid] for path, value in found.items()},
            "vals": {path: [] if value is None else [value] for path, value in found.items()},
        }
        result: dict[str, Any] = {"status": STATUS_NEW}
        if trial.loss is not None:
            result = {"status": STATUS_OK, "loss": trial.loss}
        return {
            "tid": tid,
            "state": JOB_STATE_DONE,
            "spec": None,
            "result": result,
            "misc": misc,
            "exp_key": None,
            "owner": None,
            "version": 0,
            "book_time": None,
            "refresh_time": None,
        }

    @staticmethod
    def _plain(own: Parameter, said: Mapping[str, Any]) -> float | int:
        value = float(said[own.path])
        return value if own.kind == "float" else round(value)


LIBRARY = HyperOpt
