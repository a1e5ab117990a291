"""A storage as users name it, and its credentials in the processes that open it.

Credentials do not travel with a flow: what does is the name of a block, and each process that opens
the storage asks Prefect's server for what is in it. A name may be that of a `StudyStorage`, or, as
``SLUG/NAME``, that of a block of Prefect's collections; see `tuneflow.prefect.other_blocks`.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Final, TypeAlias

import httpx
from prefect.blocks.core import Block, UnknownBlockType
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from tuneflow import credentials
from tuneflow.errors import SpecError, StorageError
from tuneflow.prefect.blocks import StudyStorage
from tuneflow.prefect.other_blocks import credentials_of, url_of
from tuneflow.store_urls import normalise

PREFIX: Final = "block:"
"""What a storage begins with that is the name of a block."""

_FRESH = 60.0
"""Seconds until a block is asked for again: its credentials may have been changed."""

Storage: TypeAlias = str | os.PathLike[str] | Block
"""A URL, a path, ``block:NAME``, ``block:SLUG/NAME`` or a block."""


def storage_name(storage: Storage) -> str:
    """Return a storage as a text without secrets, which may travel: its URL, or a block's name.

    Raises SpecError for a block with credentials that was never saved, for a name that is empty,
    and for a URL that cannot be one.
    """
    if isinstance(storage, Block):
        return _block_name(storage)
    text = os.fspath(storage)
    if not text.startswith(PREFIX):
        return normalise(text)
    if not text.removeprefix(PREFIX):
        raise SpecError("storage", "'block:' names no block", "write block:NAME")
    return text


def storage_url(storage: Storage) -> str:
    """Return the URL of a storage, from Prefect's server where it is the name of a block.

    Raises:
        SpecError: there is no such block, or no such kind of storage.
        StorageError: Prefect's server cannot be asked.
    """
    if isinstance(storage, Block):
        return _url(storage)
    name = storage_name(storage)
    return _url(_blocks.get(name)) if name.startswith(PREFIX) else name


def lend_credentials(storage: Storage) -> str:
    """Make a block's credentials known to whatever opens storages in this process from now on.

    Those of a `StudyStorage` become environment variables of the process, which its trials see,
    too. One that has another value already is never replaced, unless this block has set it: then
    it was changed on the server. Those of other blocks are known to tuneflow alone, for this URL.

    Args:
        storage: a storage; nothing happens unless it is a block, or names one.

    Returns:
        The storage's URL.

    Raises:
        SpecError: the process has another value of a variable, or there is no such block.
        StorageError: Prefect's server cannot be asked.
    """
    name = storage_name(storage)
    if not name.startswith(PREFIX):
        return name
    block = storage if isinstance(storage, Block) else _blocks.get(name)
    url, other = _url(block), block
    if isinstance(block, StudyStorage):
        _lent.lend(name, block.credentials.get_secret_value())
        if not block.credentials_from:
            return url
        other = _blocks.get(f"{PREFIX}{block.credentials_from}")
    credentials.provide(url, *credentials_of(other, url))
    return url


def _url(block: Block) -> str:
    return block.url if isinstance(block, StudyStorage) else url_of(block)


class _Lent:
    """Which blocks have set which variables of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, str] = {}

    def lend(self, block: str, variables: dict[str, str]) -> None:
        """Set variables for a block: all of them, or none."""
        with self._lock:
            for variable, value in variables.items():
                self._check(block, variable, value)
            for variable, value in variables.items():
                if os.environ.get(variable) != value:
                    os.environ[variable] = value
                    self._owners[variable] = block
                    credentials.changed()

    def _check(self, block: str, variable: str, value: str) -> None:
        known, owner = os.environ.get(variable), self._owners.get(variable)
        if not known or known == value or owner == block:
            return
        other = f"{owner} has set it to" if owner else "this process has"
        raise SpecError(
            "storage",
            f"{block} sets {variable}, and {other} another value",
            "a process has one set of credentials: run the flows in processes of their own, or use "
            "one block for both",
        )


_lent = _Lent()


def _block_name(block: Block) -> str:
    if not isinstance(block, StudyStorage):
        return _other_name(block)
    if block.saved_as is not None:
        return f"{PREFIX}{block.saved_as}"
    if block.credentials.get_secret_value() or block.credentials_from:
        problem = "a block with credentials that was not saved cannot reach the workers"
        raise SpecError("storage", problem, "save it: storage.save('NAME')")
    return block.url


def _other_name(block: Block) -> str:
    name, slug = block._block_document_name, block.get_block_type_slug()
    if name is None:
        problem = f"a block of the type '{slug}' that was not saved cannot reach the workers"
        raise SpecError("storage", problem, "save it: storage.save('NAME')")
    return f"{PREFIX}{slug}/{name}"


class _Blocks:
    """Blocks that this process has loaded lately, so that not every trial asks for them."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str | None, str], tuple[float, Block]] = {}

    def get(self, name: str) -> Block:
        """Return the block of a name such as ``block:studies`` or ``block:s3-bucket/studies``."""
        key, now = (get_current_settings().api.url, name), time.monotonic()
        at, block = self._loaded.get(key, (-math.inf, None))
        if block is None or now >= at + _FRESH:
            block = _load(name.removeprefix(PREFIX))
            self._loaded[key] = now, block
        return block


_blocks = _Blocks()


def _load(document: str) -> Block:
    kind = Block if "/" in document else StudyStorage
    try:
        found: Block = kind.load(document, _sync=True)
    except UnknownBlockType as error:
        raise SpecError("storage", f"the block '{document}' cannot be used", str(error)) from None
    except ValueError as error:
        raise _unusable(document, error) from None
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        # Not the chain: an answer may be repeated in it, and with that what is secret.
        message = f"Prefect's server does not give the block '{document}'"
        raise StorageError(f"{message} ({type(error).__name__})") from None
    return found


def _unusable(document: str, error: ValueError) -> SpecError:
    if "/" in document:
        problem = f"there is no block '{document}', or it cannot be used ({type(error).__name__})"
        fix = "see: prefect block ls"
    elif isinstance(error.__cause__, ObjectNotFound):
        problem = f"there is no block '{document}' of tuneflow's study storages"
        fix = f"make it: StudyStorage(url=…).save('{document}')"
    else:
        problem = f"the block '{document}' cannot be used ({type(error).__name__})"
        fix = f"save it again: StudyStorage(url=…).save('{document}', overwrite=True)"
    return SpecError("storage", problem, fix)
