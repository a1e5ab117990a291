"""The report: one HTML file that shows a study and needs nothing else, not even a network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneflow.errors import CorruptError, MissingDependencyError, StorageError
from tuneflow.history import History
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import read_outcome
from tuneflow.study import Study
from tuneflow.trial import Outcome, outcome_path
from tuneflow.views import text
from tuneflow.views.curves import learning_curves, optimisation_history
from tuneflow.views.parameters import importance, parallel_coordinates
from tuneflow.views.pareto_figure import pareto_figure
from tuneflow.views.progress import trial_limit
from tuneflow.views.report_tables import front_rows, metrics_of, trials_table
from tuneflow.views.theme import STATE_COLORS, Figure, sample
from tuneflow.views.timeline import MOST_BARS, running_time, timeline

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_FAILURES = 20


def write_report(opened: OpenStudy, path: Path | str) -> Path:
    """Write the report of a study, finished or not, as one HTML file.

    The file opens without a network; it holds the code of its figures. Its size is bounded:
    of a large study the figures and the table show a part, and say which.

    Args:
        opened: the study.
        path: the file; its folder is made when it is missing.

    Returns:
        The path of the file.

    Raises:
        MissingDependencyError: plotly or optuna is not installed.
        StorageError: the file cannot be written.
    """
    page = report(opened)
    target = Path(path)
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}") from error
    return target


def report(opened: OpenStudy) -> str:
    """Return the report of a study, as `write_report` writes it.

    Raises MissingDependencyError when plotly or optuna is not installed.
    """
    return render(opened.study, opened.history, opened.url, read_outcomes(opened))


def read_outcomes(opened: OpenStudy) -> list[Outcome]:
    """Return the outcomes of the segments that the report shows, as far as there are any."""
    keys = [(t.number, segment) for t in opened.history.trials for segment in range(t.segment + 1)]
    groups = text.failure_groups(opened.history.trials)[:MOST_FAILURES]
    failed = [opened.history.trials[group.trials[0]] for group in groups]
    chosen = dict.fromkeys([*sample(keys, MOST_BARS), *((t.number, t.segment) for t in failed)])
    paths = [outcome_path(*key) for key in chosen]
    stored = opened.store.get_many(paths)
    return list(_parsed(paths, stored))


def _parsed(paths: Sequence[str], stored: Sequence[bytes | None]) -> Iterator[Outcome]:
    """Yield the outcomes that are there and whole; a report does without the others."""
    for path, data in zip(paths, stored, strict=True):
        try:
            if data is not None:
                yield read_outcome(data, path)
        except CorruptError:
            continue


def render(study: Study, history: History, url: str, outcomes: Sequence[Outcome] = ()) -> str:
    """Return the report as HTML.

    Args:
        study: the study.
        history: its history.
        url: its URL, for the commands that the report names.
        outcomes: of its segments, for the timeline and the tracebacks.
    """
    pareto = pareto_figure(study, history) if study.other_metrics else None
    figures = _figures(study, history, outcomes)
    environment = _environment()
    template = environment.get_template("report.html")
    page: str = template.render(
        study=study,
        history=history,
        url=url,
        summary=list(_summary(study, history, url, outcomes)),
        counts=[(s.value, history.counts[s]) for s in text.STATES if history.counts[s]],
        best=_best(history),
        no_best=text.no_best(history),
        pareto=pareto,
        front=front_rows(history) if pareto is not None else (),
        figures=figures,
        table=trials_table(history),
        failures=_failures(history, outcomes),
        state_colors={state.value: color for state, color in STATE_COLORS.items()},
        style=_raw(_read("report.css")),
        library=_raw(_plotly()),
        script=_raw(_script()),
        policy=_raw(policy()),
        number=text.number,
    )
    return page


def policy() -> str:
    """Return the Content-Security-Policy of every report; a server can send it, too.

    Nothing is fetched, and no script runs but the two of the page.
    """
    scripts = " ".join(f"'{_hash(code)}'" for code in (_plotly(), _script()))
    # Some figures of plotly compile code.
    return (
        f"default-src 'none'; script-src {scripts} 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _figures(study: Study, history: History, outcomes: Sequence[Outcome]) -> list[Figure]:
    try:
        import optuna
        import plotly
    except ImportError as error:
        raise MissingDependencyError(error.name or "plotly", "report") from None
    del optuna, plotly
    return [
        optimisation_history(study, history),
        learning_curves(study, history),
        parallel_coordinates(study, history),
        importance(study, history),
        timeline(history, outcomes),
    ]


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tuneflow.views", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _read(name: str) -> str:
    return files("tuneflow.views").joinpath("page", name).read_text(encoding="utf-8")


def _script() -> str:
    return _read("report.js")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    library: str = get_plotlyjs()
    return library


def _raw(code: str) -> Markup:
    """Return our own code as it is: the only text of the page that is not escaped."""
    from markupsafe import Markup

    return Markup(code)  # noqa: S704 - files of this package and of plotly, never a user's text


def _hash(code: str) -> str:
    """Return what the page's policy knows a script by, so that no other can run."""
    digest = hashlib.sha256(code.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _summary(
    study: Study, history: History, url: str, outcomes: Sequence[Outcome]
) -> Iterator[tuple[str, str]]:
    limit = trial_limit(study)
    of = f" of {limit}" if limit is not None else ""
    seconds = history.elapsed or running_time(outcomes)
    yield "Goal", text.goal(study)
    yield "Trials", f"{len(history.trials)}{of}"
    yield "Resource", f"{text.number(history.spent, 6)} units"
    yield "Wall time", text.duration(seconds) if seconds else "unknown"
    yield "Objective", text.objective(study.objective)
    yield "Searcher", text.plugin(study.searcher.to_json())
    late = text.late(history)
    if late is not None:
        yield "Late", late
    yield "Scheduler", text.plugin(study.scheduler.to_json())
    stop = text.stoppers(study)
    if stop is not None:
        yield "Stop", stop
    yield "Seed", str(study.seed)
    yield "URL", url


def _best(history: History) -> dict[str, Any] | None:
    best = history.best()
    if best is None:
        return None
    return {
        "number": best.number,
        "values": metrics_of(history, best),
        "resource": text.number(best.resource),
        "checkpoint": best.checkpoint,
        "config": json.dumps(best.params, indent=2, ensure_ascii=False),
    }


def _failures(history: History, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    found = {outcome.key: outcome.failure for outcome in outcomes if outcome.failure}
    groups = text.failure_groups(history.trials)[:MOST_FAILURES]
    listed = []
    for group in groups:
        first = history.trials[group.trials[0]]
        stored = found.get((first.number, first.segment))
        listed.append(
            {
                "message": text.clean(str(group.failure)),
                "trials": group.trials,
                "traceback": stored.traceback if stored else "",
            }
        )
    return listed
