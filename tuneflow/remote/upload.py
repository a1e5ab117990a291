"""A project's own modules and packages on their way to the workers, as an archive."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tuneflow.errors import SpecError

if TYPE_CHECKING:
    from tuneflow.remote.upload_plugin import UploadPlugin

_LIMIT = 50_000_000
"""Bytes of files: the scheduler keeps them in memory, for workers that join later."""

_ARCHIVES = (".zip", ".whl", ".egg", ".pyz")
_VERSIONED = (".whl", ".egg")
"""Those whose names go on with a version."""

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Upload:
    """A module or package on its way to the workers.

    Attributes:
        name: what it is called; a later one of this name takes its place.
        data: a ZIP archive whose top folder is to be found by ``import``.
        digest: tells its version from others.
    """

    name: str
    data: bytes = field(repr=False)
    digest: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read a ``.py`` file, an archive, or a folder.

        A folder with an ``__init__.py`` is a package; of any other, what is in it is uploaded.
        Hidden files and compiled ones stay behind.

        Raises:
            SpecError: there is nothing there that can be imported, or it is too large.
        """
        data = _archive(path)
        name = path.resolve().stem
        if path.suffix in _VERSIONED:
            name = name.partition("-")[0]
        return cls(name, data, hashlib.sha256(data).hexdigest()[:16])

    @property
    def plugin(self) -> UploadPlugin:
        """What unpacks it on workers."""
        from tuneflow.remote.upload_plugin import UploadPlugin

        return UploadPlugin(self.name, self.data, self.digest)


def _archive(path: Path) -> bytes:
    if path.is_dir():
        return _zipped(_files(path), path.parent if (path / "__init__.py").exists() else path)
    if not path.is_file():
        raise SpecError("upload", f"{path} does not exist")
    if path.suffix == ".py":
        return _zipped([path], path.parent)
    if path.suffix in _ARCHIVES and zipfile.is_zipfile(path):
        _check_size(path, path.stat().st_size)
        return path.read_bytes()
    raise SpecError(
        "upload",
        f"{path} cannot be imported by workers",
        f"give a .py file, a folder, or a ZIP archive ({', '.join(_ARCHIVES)})",
    )


def _check_size(path: Path, size: int) -> None:
    if size > _LIMIT:
        raise SpecError(
            "upload",
            f"{path} takes {size / 1e6:.0f} MB",
            f"at most {_LIMIT / 1e6:.0f} MB can be uploaded: have workers read data from where "
            "they reach it, and install large packages there",
        )


def _files(folder: Path) -> list[Path]:
    files = sorted(_walk(folder))
    if not any(file.suffix == ".py" for file in files):
        raise SpecError("upload", f"the folder {folder} has no Python file in it")
    _check_size(folder, sum(file.stat().st_size for file in files))
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _stays_behind(name)]
        files = (Path(root, name) for name in names if not _stays_behind(name))
        # A link to what is gone, or a socket, is nothing to import.
        yield from (file for file in files if file.is_file())


def _stays_behind(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__" or name.endswith(".pyc")


def _zipped(files: Iterable[Path], root: Path) -> bytes:
    """Return an archive of files; the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _FIXED_DATE)
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
