"""A study that is open: its spec, its store, its journal and its history, kept together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuneflow.errors import CorruptError, StudyExistsError, StudyNotFoundError
from tuneflow.events import Fact
from tuneflow.history import History
from tuneflow.journal import Entry, Journal
from tuneflow.jsonio import loads
from tuneflow.objective.reference import refuse_secrets
from tuneflow.spec import study_from_json
from tuneflow.store import AlreadyExists, NotFound, Store
from tuneflow.study import Study

SPEC_PATH = "study.json"


@dataclass
class OpenStudy:
    """A study and what is known of it.

    Attributes:
        study: the spec.
        store: the study's own store.
        journal: where facts are committed.
        history: every fact committed or about to be.
        round_ends: for each round that was opened, how many facts there were then.
    """

    study: Study
    store: Store
    journal: Journal
    history: History
    round_ends: list[int] = field(default_factory=list)

    @classmethod
    def create(cls, study: Study, storage: str) -> OpenStudy:
        """Create a study, or open the one that is there with the same spec.

        Raises:
            SpecError: the spec has a secret in it.
            StorageError: the storage cannot be used.
            StudyExistsError: there is one of this name with another spec.
        """
        refuse_secrets(study.objective)
        root = Store(storage)
        root.probe()
        store = root.child(study.name)
        spec = study.to_json()
        try:
            store.create(SPEC_PATH, json.dumps(spec, indent=2, allow_nan=False).encode())
        except AlreadyExists:
            _require_same(store, spec)
        opened = cls._read(study, store)
        opened.journal.is_safe = True
        return opened

    @classmethod
    def open(cls, url: str) -> OpenStudy:
        """Open the study at a URL. Raises StudyNotFoundError when there is none."""
        store = Store(url)
        study = study_from_json(_load_spec(store))
        return cls._read(study, store)

    @classmethod
    def _read(cls, study: Study, store: Store) -> OpenStudy:
        opened = cls(study, store, Journal(store), study.history())
        opened.refresh()
        return opened

    @property
    def url(self) -> str:
        """The study's URL."""
        return self.store.url

    @property
    def rounds(self) -> int:
        """How many rounds have been opened."""
        return len(self.round_ends)

    def refresh(self) -> list[Fact]:
        """Read what others have committed since, and return it."""
        first = len(self.history.facts)
        for entry in self.journal.read():
            self.history.extend(entry.facts)
            self._note(entry)
        return self.history.facts[first:]

    def commit(self, facts: Iterable[Fact], *, round_number: int | None = None) -> None:
        """Commit facts that are in the history already. Raises StudyConflictError."""
        self._note(self.journal.append(facts, round_number=round_number))

    def _note(self, entry: Entry) -> None:
        if entry.round is not None:
            self.round_ends.append(len(self.history.facts))


def check_place(study: Study, storage: str, *, probe: bool = False) -> None:
    """Make sure that a study can be created, or gone on with, in a storage; nothing stays there.

    Args:
        study: the study.
        storage: the storage's URL.
        probe: whether to use the storage; without that only its URL and the name are checked.

    Raises:
        SpecError: no storage has such a URL, none can have a study of this name, or the spec has
            a secret in it.
        StorageError: the storage cannot be used.
        StudyExistsError: there is one of this name with another spec.
    """
    refuse_secrets(study.objective)
    root = Store(storage)
    store = root.child(study.name)
    if probe:
        root.probe()
        if store.exists(SPEC_PATH):
            _require_same(store, study.to_json())


def _load_spec(store: Store) -> dict[str, Any]:
    try:
        stored = store.get(SPEC_PATH)
    except NotFound:
        raise StudyNotFoundError(
            f"there is no study at {store.url}; a study's URL is its storage and its name, "
            "such as ./tuneflow-results/digits"
        ) from None
    try:
        data = loads(stored)
    except ValueError as error:
        raise CorruptError(f"{store.url}/{SPEC_PATH} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CorruptError(f"{store.url}/{SPEC_PATH} is not a JSON object")
    return data


def _require_same(store: Store, spec: Mapping[str, Any]) -> None:
    stored = _load_spec(store)
    if stored == json.loads(json.dumps(spec)):
        return
    differing = [key for key in spec if stored.get(key) != json.loads(json.dumps(spec[key]))]
    raise StudyExistsError(
        f"{store.url} is a study with another spec (it differs in {', '.join(differing)}); "
        "choose another name, or the same spec to go on with it"
    )
