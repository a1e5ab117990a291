"""What a flow tunes, and how: fixed when the flow is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tuneflow.pipeline.template import StudyTemplate
from tuneflow.prefect.lending import storage_url
from tuneflow.store import Store


class RunPlan(Protocol):
    """What a flow does, fixed when it is made."""

    def study_url(self, run_id: str, params: Mapping[str, Any]) -> str:
        """Return the URL of the study that a run is at.

        Args:
            run_id: of the flow run.
            params: those of the run.
        """


@dataclass(frozen=True)
class FlowPlan:
    """A study as a flow has it; it can be pickled, and holds no secret.

    Attributes:
        template: the study, but for its name.
        name: the study's name, unless a run says otherwise.
        storage: likewise, a URL or ``block:NAME``.
        trial_retries: how often a trial that left no outcome is tried again.
        trial_retry_delay: seconds before that.
    """

    template: StudyTemplate
    name: str
    storage: str
    trial_retries: int
    trial_retry_delay: float

    def study_url(self, run_id: str, params: Mapping[str, Any]) -> str:
        """Return the URL of the study of one run.

        Args:
            run_id: of the flow run.
            params: those of the run.

        Raises:
            SpecError: a param cannot work.
            StorageError: Prefect's server does not say which storage a block is.
        """
        name = self.template.name(params.get("name") or self.name, run_id, params)
        return Store(storage_url(params.get("storage") or self.storage)).child(name).url
