"""What Optuna's samplers look at: a study in memory that cannot be changed, save for one draft.

A sampler reads the trials so far and writes to the trial that it is asked for: its parameters,
and the sampler's notes ("system attributes", on that trial and on the study). All that is the
draft. It is adopted when the trial is launched, or forgotten.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

STUDY_NAME: Final = "tuneflow"
"""The one study in this storage; its id is 0."""

_NO_TIME: Final = datetime.fromtimestamp(0, UTC)
"""Optuna wants to know when a trial began; no sampler does."""


class DraftStorage(BaseStorage):
    """One study, of which the newest trial may be written to while it is a draft.

    Args:
        maximize: for each metric, whether a larger value is better.

    Attributes:
        trials: the trials so far; a trial's position is its number and its id.
        attrs: the samplers' notes on the study.
    """

    def __init__(self, maximize: Sequence[bool]) -> None:
        self.trials: list[FrozenTrial] = []
        self.attrs: dict[str, Any] = {}
        self._directions = [
            StudyDirection.MAXIMIZE if is_high else StudyDirection.MINIMIZE for is_high in maximize
        ]
        self._draft: FrozenTrial | None = None
        self._draft_attrs: dict[str, Any] = {}

    def adopt(self) -> dict[str, Any]:
        """Keep the draft's notes on the study, and return those on the trial."""
        draft, self.attrs = self._draft, self.attrs | self._draft_attrs
        self.forget()
        return draft.system_attrs if draft is not None else {}

    def forget(self) -> None:
        """Forget the draft."""
        self._draft, self._draft_attrs = None, {}

    def add(
        self,
        params: dict[str, Any],
        distributions: dict[str, BaseDistribution],
        notes: dict[str, Any] | None = None,
    ) -> FrozenTrial:
        """Add a running trial and return it, to be kept up to date by the caller."""
        trial = _running(len(self.trials), params, distributions, notes or {})
        self.trials.append(trial)
        return trial

    # What samplers read.

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial, the draft too."""
        if trial_id == len(self.trials) and self._draft is not None:
            return self._draft
        return self.trials[trial_id]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials in these states. They are never copied; nobody may change them."""
        trials = self.trials if self._draft is None else [*self.trials, self._draft]
        return [trial for trial in trials if states is None or trial.state in states]

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return a direction for each metric."""
        return self._directions

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the notes on the study, those of the draft too."""
        return self.attrs | self._draft_attrs

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return 0."""
        return 0

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name."""
        return STUDY_NAME

    # What samplers write.

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Begin a draft and return its id."""
        self._draft, self._draft_attrs = _running(len(self.trials), {}, {}, {}), {}
        return len(self.trials)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Write a parameter of the draft."""
        draft = self._writable(trial_id)
        draft.params[param_name] = distribution.to_external_repr(param_value_internal)
        draft.distributions[param_name] = distribution

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write a note on the draft."""
        self._writable(trial_id).system_attrs[key] = value

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write a note on the study; it is a part of the draft."""
        self._draft_attrs[key] = value

    def _writable(self, trial_id: int) -> FrozenTrial:
        if trial_id != len(self.trials) or self._draft is None:
            _refuse()
        return self._draft

    # What nobody may do.

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Refuse."""
        _refuse()

    def delete_study(self, study_id: int) -> None:
        """Refuse."""
        _refuse()

    def get_all_studies(self) -> list[Any]:
        """Refuse."""
        _refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Refuse."""
        _refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Refuse."""
        _refuse()

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Refuse."""
        _refuse()

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Refuse."""
        _refuse()


def _refuse() -> NoReturn:
    raise RuntimeError("a sampler may write to the trial it is asked for, and to nothing else")


def _running(
    number: int,
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    notes: dict[str, Any],
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=_NO_TIME,
        datetime_complete=None,
        params=params,
        distributions=distributions,
        user_attrs={},
        system_attrs=notes,
        intermediate_values={},
        trial_id=number,
    )
