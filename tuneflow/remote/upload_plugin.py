"""Unpack what was uploaded, on the workers that there are and on those that will join.

Dask's own ``upload_file`` imports an archive where it lies. That hides the data files of a package
from it, and goes wrong once a newer version of the archive takes its place. Here each version is
unpacked into a folder of its own, and what was imported of an older one is forgotten.
"""

from __future__ import annotations

import importlib
import io
import shutil
import sys
import threading
import zipfile
from pathlib import Path

from distributed import Worker, WorkerPlugin

from tuneflow.objective.importing import forget_files

_lock = threading.Lock()


class UploadPlugin(WorkerPlugin):
    """Unpacks an archive on each worker, and lets what is in it be imported there.

    Args:
        name: of the module or package; workers take a plugin of the same name for a newer version.
        data: the archive.
        digest: tells its version from others.
    """

    def __init__(self, name: str, data: bytes, digest: str) -> None:
        self.name = f"tuneflow-upload-{name}"
        self._data = data
        self._digest = digest

    def setup(self, worker: Worker) -> None:
        """Unpack it, unless that was done; Dask calls this once for each worker."""
        place = Path(worker.local_directory) / self.name / self._digest
        with _lock:
            if not place.exists():
                _unpack(self._data, place)
            if str(place) not in sys.path:
                _forget_others(place)
                sys.path.insert(0, str(place))
                importlib.invalidate_caches()


def _unpack(data: bytes, place: Path) -> None:
    unfinished = place.with_name(f"{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(unfinished)
    unfinished.rename(place)


def _forget_others(place: Path) -> None:
    """Forget other versions of what lies there: uploaded earlier, or imported from elsewhere."""
    sys.path[:] = [path for path in sys.path if not Path(path).is_relative_to(place.parent)]
    # This very module may not go, should somebody upload a clone of tuneflow.
    replaced = {path.stem for path in place.iterdir() if _is_imported(path)} - {"tuneflow"}
    for name in list(sys.modules):
        if name.partition(".")[0] in replaced:
            del sys.modules[name]
    forget_files()


def _is_imported(path: Path) -> bool:
    """Whether it is a module or a package; a logging.yaml beside them is neither."""
    return path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))
