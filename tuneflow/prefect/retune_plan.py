"""What a flow retunes, and how: fixed when the flow is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from tuneflow.prefect.lending import lend_credentials, storage_url
from tuneflow.prefect.plan import FlowPlan
from tuneflow.retune.line import Line
from tuneflow.retune.plan import Plan, make_plan
from tuneflow.space import Space
from tuneflow.store import Store

DATA_VERSION: Final = "{data_version}"
"""What stands in the space for the data of a run."""


@dataclass(frozen=True)
class RetunePlan:
    """A retune as a flow has it; it can be pickled, and holds no secret.

    Attributes:
        search: the study of the search, the line's name and its storage.
        options: the fields of `tuneflow.retune.plan.Plan`, but for ``study``.
    """

    search: FlowPlan
    options: Mapping[str, Any]

    @classmethod
    def of(cls, search: FlowPlan, options: Mapping[str, Any]) -> Self:
        """Return a plan once it is clear that it can work.

        Args:
            search: see `RetunePlan`.
            options: see `tuneflow.retune.plan.make_plan`.

        Raises:
            SpecError: it cannot.
            MissingDependencyError: the test needs a package that is not installed.
        """
        made = make_plan(search.template.spec, options).to_json()
        return cls(search, {name: value for name, value in made.items() if name != "study"})

    def plan(self, params: Mapping[str, Any], data_version: str) -> Plan:
        """Return what one run is to do.

        Args:
            params: those of the run.
            data_version: which data it is about.

        Raises:
            SpecError: a param cannot work.
        """
        spec = self.search.template.changed(params)
        space = _filled(Space.from_json(spec["space"]).to_json(), data_version)
        return make_plan({**spec, "space": space}, self.options)

    @property
    def line_url(self) -> str:
        """The URL of the line. Raises StorageError, SpecError for a block that is not there."""
        return Store(storage_url(self.search.storage)).child(self.search.name).url

    def open_line(self) -> Line:
        """Read the line, with the credentials that it takes."""
        lend_credentials(self.search.storage)
        return Line.open(self.line_url)

    def study_url(self, run_id: str, params: Mapping[str, Any]) -> str:
        """Return the URL of the study that a run has come to, or else that of the line.

        Args:
            run_id: of the flow run.
            params: those of the run.
        """
        line = self.open_line()
        begun = line.begun_by(run_of(run_id, params))
        studies = list(begun.studies()) if begun is not None else []
        return studies[-1].url if studies else line.url


def run_of(run_id: str, params: Mapping[str, Any]) -> str:
    """Return what tells a retune's run from all others: the flow run's id, unless one is given."""
    return str(params.get("run") or run_id)


def _filled(space: Any, data_version: str) -> Any:
    """Return the JSON of a space in which texts say which data are meant."""
    if isinstance(space, str):
        return space.replace(DATA_VERSION, data_version)
    if isinstance(space, Mapping):
        return {name: _filled(node, data_version) for name, node in space.items()}
    return [_filled(node, data_version) for node in space] if isinstance(space, list) else space
