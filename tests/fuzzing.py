"""Throw damaged and hostile bytes at everything that reads what lies in a storage.

    python -m tests.fuzzing --minutes 10                             all, from mutated samples
    python -m tests.fuzzing --minutes 10 --reader facts --coverage   guided by coverage (atheris)

A reader may return, or raise the errors that its documentation names. Anything else ends the run
with the bytes that did it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzzing_samples import ENTRY, MANIFESTS, OUTCOME, PLACE, SPECS
from tuneflow.errors import CorruptError, SpecError
from tuneflow.journal import Entry, snapshot_path
from tuneflow.jsonio import loads
from tuneflow.last_place import PATH as PLACE_PATH
from tuneflow.last_place import LastPlace
from tuneflow.manifest import Manifest
from tuneflow.opened import SPEC_PATH, OpenStudy
from tuneflow.outcomes import read_outcome
from tuneflow.space import Space
from tuneflow.spec import study_from_json
from tuneflow.store import Store
from tuneflow.study_file import load_study_file


@dataclass(frozen=True)
class Target:
    """Something that reads bytes.

    Attributes:
        read: reads them; what it may raise is caught in there.
        samples: bytes that it can read.
    """

    read: Callable[[bytes], None]
    samples: Sequence[bytes]


def read_entry(data: bytes) -> None:
    try:
        entry = Entry.from_bytes(data, "journal/0")
        assert Entry.from_bytes(entry.to_bytes(), "again").to_bytes() == entry.to_bytes()
    except CorruptError:
        return


def read_facts(data: bytes) -> None:
    """Read lines of facts as an entry whose checksum is right, and fold them."""
    body = data if data.endswith(b"\n") else data + b"\n"
    whole = body + f'{{"check":"{zlib.crc32(body):08x}"}}\n'.encode()
    history = study_from_json(json.loads(SPECS[0])).history()
    try:
        history.extend(Entry.from_bytes(whole, "journal/0").facts)
        history.best()
        list(history.open_segments())
    except CorruptError:
        return


def read_manifest(data: bytes) -> None:
    try:
        manifest = Manifest.from_bytes(data)
        assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    except CorruptError:
        return


def read_manifest_content(data: bytes) -> None:
    """Read a manifest whose checksum is right, whatever it says."""
    from tests.fuzzing_samples import with_checksum

    try:
        content = loads(data)
        read_manifest(with_checksum(content))
    except (ValueError, RecursionError):
        return


def read_an_outcome(data: bytes) -> None:
    try:
        outcome = read_outcome(data, "trials/0")
        json.dumps(outcome.to_json(), allow_nan=False)
    except CorruptError:
        return


def read_spec(data: bytes) -> None:
    """Open a study whose spec this is; the journal beside it is empty."""
    store = Store(f"memory://fuzz-{uuid.uuid4().hex}")
    store.put(SPEC_PATH, data)
    try:
        OpenStudy.open(store.url)
    except (CorruptError, SpecError, ImportError):
        return
    finally:
        store.delete([SPEC_PATH])


def read_space(data: bytes) -> None:
    try:
        Space.from_json(loads(data))
    except (SpecError, ValueError, RecursionError):
        return


def read_study_file(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "study.yaml")
        file.write_bytes(data)
        try:
            load_study_file(file)
        except (SpecError, ImportError):
            return


def read_place(data: bytes) -> None:
    store = Store(f"memory://fuzz-{uuid.uuid4().hex}")
    store.put(PLACE_PATH, data)
    LastPlace.recall(store)
    store.delete([PLACE_PATH])


def read_snapshot(data: bytes) -> None:
    """A snapshot is a cache: a bad one is as good as none."""
    store = Store(f"memory://fuzz-{uuid.uuid4().hex}")
    store.put(SPEC_PATH, SPECS[0])
    store.put(snapshot_path(0), data)
    try:
        OpenStudy.open(store.url)
    except CorruptError:
        return
    finally:
        store.delete([SPEC_PATH, snapshot_path(0)])


TARGETS = {
    "entry": Target(read_entry, [ENTRY]),
    "facts": Target(read_facts, [ENTRY.rpartition(b'{"check"')[0]]),
    "snapshot": Target(read_snapshot, [ENTRY]),
    "manifest": Target(read_manifest, MANIFESTS),
    "manifest content": Target(read_manifest_content, MANIFESTS),
    "outcome": Target(read_an_outcome, [OUTCOME]),
    "spec": Target(read_spec, SPECS),
    "space": Target(read_space, [json.dumps(json.loads(spec)["space"]).encode() for spec in SPECS]),
    "study file": Target(read_study_file, SPECS),
    "place": Target(read_place, [PLACE]),
}

_VALUES = (
    *(None, True, -1, 0, 2**63, 10**400, 0.5, 1e308, "", "NaN", "\ud800", "x" * 300, [], {}, [[]]),
    *({"": None}, "../../etc/passwd", "a\x00b", "-1", "1e999", {"type": "random"}, [None] * 3),
)
_TOKENS = (
    *(b"null", b"-1", b"1e999", b"NaN", b"[" * 200, b'{"a":' * 50),
    *(b"\x00", b"\xff", b'"', b"&a *a"),
)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return bytes that are nearly those given: a JSON value changed, or some bytes."""
    if rng.random() < 0.6:
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        try:
            lines[at] = json.dumps(_mutate_value(json.loads(lines[at]), rng)).encode()
            return b"\n".join(lines)
        except (ValueError, RecursionError):
            pass
    for _ in range(rng.choice((1, 1, 2, 8))):
        data = _mutate_bytes(data, rng)
    return data


def _mutate_value(value: object, rng: random.Random) -> object:
    """Replace, remove, double or rename something somewhere in a JSON value."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(_VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    copy = dict(value) if isinstance(value, dict) else list(value)
    action = rng.random()
    if action < 0.1:
        del copy[key]
    elif action < 0.2 and isinstance(copy, dict):
        copy[rng.choice(("", "type", "x", "..", str(key) + "s"))] = copy.pop(key)
    elif action < 0.25 and isinstance(copy, list):
        copy.append(copy[key])
    else:
        copy[key] = _mutate_value(copy[key], rng)
    return copy


def _mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    action = rng.randrange(5)
    if action == 0:
        return data[:at]
    if action == 1 and at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if action == 2:
        return data[:at] + rng.choice(_TOKENS) + data[at:]
    if action == 3:
        end = min(len(data), at + rng.randrange(1, 40))
        return data[:at] + data[end:]
    return data[:at] + data[max(0, at - rng.randrange(1, 60)) : at] + data[at:]


def attack(name: str, seed: int, times: int) -> None:
    """Have a target read so many mutations of its samples, and of mutations."""
    target, rng = TARGETS[name], random.Random(f"{name}-{seed}")
    pool = list(target.samples)
    for _ in range(times):
        data = mutate(rng.choice(pool), rng)
        try:
            target.read(data)
        except Exception as error:
            raise AssertionError(f"{name} cannot stand {data!r}") from error
        if len(pool) < 200 and len(data) < 20_000:
            pool.append(data)


def _by_mutation(names: Sequence[str], seconds: float) -> None:
    end, seed, done = time.monotonic() + seconds, random.randrange(2**32), 0
    while time.monotonic() < end:
        for name in names:
            attack(name, seed, 200)
            done += 200
        seed += 1
    sys.stdout.write(f"{done:,} inputs for {len(names)} readers, and none did any harm\n")


def _by_coverage(name: str, seconds: float) -> None:
    """Let atheris look for inputs; it ends the process."""
    import atheris

    atheris.instrument_all()
    target = TARGETS[name]

    def read(data: bytes) -> None:
        target.read(data)

    with TemporaryDirectory() as corpus:
        for number, sample in enumerate(target.samples):
            Path(corpus, str(number)).write_bytes(sample)
        options = [f"-max_total_time={int(seconds)}", "-rss_limit_mb=4096", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, corpus], read)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--reader", choices=list(TARGETS))
    parser.add_argument("--coverage", action="store_true")
    given = parser.parse_args()
    if given.coverage:
        _by_coverage(given.reader or "facts", given.minutes * 60)
        return
    try:
        _by_mutation([given.reader] if given.reader else list(TARGETS), given.minutes * 60)
    except AssertionError:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
