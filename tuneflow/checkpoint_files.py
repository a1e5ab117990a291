"""Which files a checkpoint consists of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuneflow.checkpoint_parts import changed, unreadable
from tuneflow.errors import SpecError


def find_files(source: Path) -> dict[str, Path]:
    """Return the files of a checkpoint by their names in it.

    Args:
        source: one file, or a folder with everything below it. Empty folders are left out.
            Symbolic links are followed to places inside the folder.

    Raises:
        SpecError: ``source`` does not exist, has a link that is broken, circular or leads outside,
            something that is neither file nor folder, such as a pipe, or what may not be read.
        CheckpointCorruptError: a folder went away meanwhile.
    """
    try:
        return _find(source)
    except PermissionError as error:
        raise unreadable(Path(error.filename or source)) from None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise changed(Path(error.filename or source)) from None


def stamp(file: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written to; None if it is gone."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _find(source: Path) -> dict[str, Path]:
    if source.is_file():
        return {source.name: source}
    if not source.is_dir():
        raise _refusal(source, "is neither file nor folder")
    root = source.resolve()
    return dict(_walk(root, "", (root,)))


def _walk(folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """Yield the files below ``folder``; ``above`` are the folders that led here, root first."""
    for path in sorted(folder.iterdir()):
        real = _follow(path, above[0]) if path.is_symlink() else path
        if real.is_file():
            yield f"{prefix}{path.name}", real
        elif not real.is_dir():
            raise _refusal(path, "is neither file nor folder")
        elif real in above:
            raise _refusal(path, "is a link to a folder that it lies in")
        else:
            yield from _walk(real, f"{prefix}{path.name}/", (*above, real))


def _follow(link: Path, root: Path) -> Path:
    try:
        real = link.resolve(strict=True)
    except (OSError, RuntimeError):
        raise _refusal(link, "is a broken link") from None
    if not real.is_relative_to(root):
        raise _refusal(link, "is a link that leads out of the checkpoint")
    return real


def _refusal(path: Path, problem: str) -> SpecError:
    return SpecError("checkpoint", f"'{path}' {problem}", "save regular files and folders only")
