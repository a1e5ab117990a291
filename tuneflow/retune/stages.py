"""The steps of a retune, each of which may be done again: what lies between them is a study.

`begin`, then the study "champion" is run; `prepare_search`, then "search"; `prepare_challenger`,
then "challenger"; `judge`. Who runs the studies, and where, is all the same: each is a study like
any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tuneflow.driving import checked
from tuneflow.errors import (
    SpecError,
    StudyConflictError,
    StudyExistsError,
    TrialsFailedError,
)
from tuneflow.opened import OpenStudy
from tuneflow.result import Result
from tuneflow.retune.champions import Champion, Record
from tuneflow.retune.judging import verdict_on
from tuneflow.retune.line import Line, Retune, encode_plan, plan_path
from tuneflow.retune.mapping import SpaceMap, require_shared
from tuneflow.retune.measuring import (
    Measured,
    as_today,
    candidate,
    measured,
    measuring_study,
    require_same_goal,
    search_seed,
    with_key,
    without_key,
)
from tuneflow.retune.past import past_of
from tuneflow.retune.plan import Plan, require_one_goal
from tuneflow.retune.prior import WarmStart, warm_start
from tuneflow.retune.spending import search_budget, used_by
from tuneflow.rng import generator
from tuneflow.searchers.base import sampled
from tuneflow.space import Constant, Space
from tuneflow.store import AlreadyExists
from tuneflow.study import Study
from tuneflow.trial import Trial


def begin(url: str, plan: Plan, *, run: str, data_version: str = "", trigger: str = "") -> Retune:
    """Begin a retune of a line, or return the one that this run has begun.

    A retune that somebody else has under way is overtaken: it cannot change the champion any
    more. The first champion of a line that began with a study is the best of that study.

    Args:
        url: the line: a storage and a name.
        plan: what to do.
        run: tells this run of a pipeline from all others.
        data_version: says which data it is, for the record.
        trigger: what set it off, for the record.

    Raises:
        SpecError: the plan cannot work, or not with this line's history.
        StudyConflictError: the retune that this run had begun was overtaken.
        StudyExistsError: this run has begun with another plan.
        StorageError: the storage cannot be used.
    """
    for name, text in (("run", run), ("data_version", data_version), ("trigger", trigger)):
        if not isinstance(text, str):
            raise SpecError(name, f"{text!r} is not text")
    line = Line.open(url)
    known = line.begun_by(run)
    if known is not None and known.verdict() is not None:
        return known
    study = plan.check()
    line.store.probe()
    _check_history(line, plan, study)
    number = line.log.open_retune(run)
    if number is None:
        if known is not None:
            _require_not_overtaken(known)
        _adopt(line, plan.seed_key)
        number = line.log.begin(run=run, data_version=data_version, trigger=trigger)
    retune = line.retune(number)
    _store_plan(retune, plan)
    champion = retune.before
    if champion is not None:
        OpenStudy.create(_champion_study(plan, study, champion, number), retune.url)
    return retune


def prepare_search(retune: Retune) -> OpenStudy:
    """Return the study of the search, made with what is known once the champion is measured.

    Raises:
        StudyConflictError: a newer retune has overtaken this one.
        TrialsFailedError: the champion has not been measured.
        SpecError: the limits leave nothing for a search.
    """
    retune.require_current()
    known = retune.study("search")
    if known is not None:
        return known
    champion = _finished(retune, "champion")
    study = retune.plan.check()
    today = without_key(study.space, retune.plan.seed_key)
    warm = _warm_start(retune, study, today)
    space = _with_seed(study.space, retune)
    made = replace(
        study,
        space=space,
        seed=search_seed(retune.plan, retune.number),
        searcher=replace(
            study.searcher,
            points_to_evaluate=(*warm.points_to_evaluate, *study.searcher.points_to_evaluate),
            known_results=(
                *_seeded(warm.known_results, space, retune),
                *study.searcher.known_results,
            ),
        ),
        budget=search_budget(retune.plan, study, champion),
    )
    notes = json.dumps({"notes": warm.notes}, indent=2)
    retune.line.store.put(retune.notes_path, notes.encode())
    return OpenStudy.create(made, retune.url)


def prepare_challenger(retune: Retune) -> OpenStudy | None:
    """Return the study that measures the best configuration that the search has found.

    None when there is nothing to measure: the search found nothing better than the champion
    itself, or has left no time.

    Raises StudyConflictError: a newer retune has overtaken this one; TrialsFailedError: the search
    has not finished, or has no usable value.
    """
    retune.require_current()
    known = retune.study("challenger")
    if known is not None:
        return known
    found = _challenger(retune)
    if isinstance(found, str):
        return None
    space, trial = found
    study = measuring_study(
        retune.plan.check(),
        retune.plan,
        retune.number,
        name="challenger",
        space=space,
        values=space.values(trial.params),
    )
    return OpenStudy.create(study, retune.url)


def _challenger(retune: Retune) -> tuple[Space, Trial] | str:
    """Return the trial of the search that is to be measured, or why there is none."""
    search = _finished(retune, "search")
    if search is None:
        raise TrialsFailedError(f"retune {retune.number} of {retune.line.url} has not searched")
    trial = candidate(checked(Result(search)).opened)
    if trial is None:
        return "the search came to no trial"
    config = {k: v for k, v in trial.params.items() if k != retune.plan.seed_key}
    champion = retune.study("champion")
    if champion is not None and config == measured(champion, retune.plan).config:
        return "the search found nothing better than the champion's own configuration"
    limits = retune.plan.limits
    _, seconds, trial_time = used_by(retune.studies())
    for word, limit, used in (
        ("wall_clock", limits.wall_clock, seconds),
        ("cost", limits.trial_time, trial_time),
    ):
        if limit is not None and used >= limit and retune.study("challenger") is None:
            return f"the {word} was used up before a challenger could be measured"
    return search.study.space, trial


def judge(retune: Retune) -> Record:
    """Promote the challenger if it is better, keep the champion otherwise, and say why.

    Done again, it returns the same record.

    Raises:
        StudyConflictError: a newer retune has overtaken this one.
        TrialsFailedError: one of its studies has not finished.
    """
    known = retune.verdict()
    if known is not None:
        return known
    retune.require_current()
    champion = _measured(retune, "champion")
    found = _challenger(retune)
    problem = found if isinstance(found, str) else ""
    challenger = None if problem else _measured(retune, "challenger")
    kind, said = verdict_on(retune, champion, challenger, problem)
    return retune.line.log.append(kind, said, retune=retune.number)


def fail(retune: Retune, reason: str) -> Record | None:
    """Note that a retune has failed, and why; the champion stays who it was.

    It can be gone on with by the run that began it. Returns None, and notes nothing, when there
    is a verdict already.
    """
    if retune.verdict() is not None:
        return None
    return retune.line.log.append("failed", {"reason": reason}, retune=retune.number)


def _champion_study(plan: Plan, study: Study, champion: Champion, number: int) -> Study:
    then = without_key(Space.from_json(champion.space), plan.seed_key)
    today = without_key(study.space, plan.seed_key)
    return measuring_study(
        study,
        plan,
        number,
        name="champion",
        space=as_today(then, today, plan.defaults),
        values={**plan.defaults, **then.values(champion.config)},
    )


def _require_not_overtaken(retune: Retune) -> None:
    """Raise StudyConflictError where a run comes back whose retune was overtaken."""
    try:
        retune.line.log.require_current(retune.number)
    except StudyConflictError as error:
        raise StudyConflictError(f"{error}; another 'run' begins a new retune") from None


def _check_history(line: Line, plan: Plan, study: Study) -> None:
    """Raise SpecError when what is stored cannot be compared with what is to be tuned."""
    champion, base = line.log.champion, line.base()
    if champion is not None:
        require_same_goal(study, champion.metric, champion.mode, champion.study)
        _require_shared(Space.from_json(champion.space), study, plan)
    elif base is not None:
        require_one_goal(base.study, base.url)
        require_same_goal(study, base.study.metric, base.study.mode, base.url)
        _require_shared(base.study.space, study, plan)
        champion = _best_of(base, plan.seed_key)
    if champion is not None:
        _require_measurable(line, plan, study, champion)


def _require_shared(then: Space, study: Study, plan: Plan) -> None:
    key = plan.seed_key
    require_shared(SpaceMap(without_key(then, key), without_key(study.space, key), plan.defaults))


def _require_measurable(line: Line, plan: Plan, study: Study, champion: Champion) -> None:
    """Raise SpecError when the champion's configuration cannot be made with today's space."""
    try:
        _champion_study(plan, study, champion, line.log.newest_retune + 1)
    except SpecError as error:
        raise SpecError(
            "space",
            f"the champion's configuration cannot be made with it: {error}",
            "say in 'defaults' what it had of the parameters that are new",
        ) from None


def _adopt(line: Line, seed_key: str) -> None:
    """Make the best trial of the study that the line began with its first champion."""
    base = line.base() if line.log.champion is None else None
    champion = _best_of(base, seed_key) if base is not None else None
    if champion is not None:
        said = {"champion": champion.to_json(), "comparison": None}
        line.log.append("promoted", {**said, "reason": "the best of the study"}, retune=0)


def _best_of(base: OpenStudy, seed_key: str) -> Champion | None:
    """Return the best trial of a study as a champion, if it has one."""
    trial = candidate(base)
    if trial is None:
        return None
    loss = base.history.trial_loss(trial)
    value = -loss if base.study.mode == "max" else loss
    return Champion(
        config={name: value for name, value in trial.params.items() if name != seed_key},
        metric=base.study.metric,
        mode=base.study.mode,
        value=value,
        values=(value,),
        seeds=(),
        resource=trial.resource,
        checkpoint=f"{base.url}/{trial.checkpoint}" if trial.checkpoint else None,
        study=base.url,
        trial=trial.number,
        data_version="",
        space=without_key(base.study.space, seed_key).to_json(),
        retune=0,
    )


def _store_plan(retune: Retune, plan: Plan) -> None:
    try:
        retune.line.store.create(plan_path(retune.number), encode_plan(plan))
    except AlreadyExists:
        stored, given = retune.read_plan().to_json(), json.loads(encode_plan(plan))
        stored = json.loads(json.dumps(stored))
        differing = [key for key in given if given[key] != stored.get(key)]
        if differing:
            raise StudyExistsError(
                f"this run has begun retune {retune.number} of {retune.line.url} with another plan "
                f"(it differs in {', '.join(differing)}); begin a new run"
            ) from None


def _finished(retune: Retune, phase: str) -> OpenStudy | None:
    """Return a study of the retune; None if it has none. Raises TrialsFailedError if it is open."""
    opened = retune.study(phase)
    if opened is not None and opened.history.state != "finished":
        raise TrialsFailedError(
            f"{opened.url} has not finished, it is {opened.history.state}"
            + (f": {opened.history.halted}" if opened.history.halted else "")
        )
    return opened


def _measured(retune: Retune, phase: str) -> Measured | None:
    opened = _finished(retune, phase)
    return measured(opened, retune.plan) if opened is not None else None


def _warm_start(retune: Retune, study: Study, today: Space) -> WarmStart:
    """Return what all that was found before is good for now."""
    champion = retune.before
    return warm_start(
        list(past_of(retune)),
        today,
        mode=study.mode,
        champion=champion.config if champion else None,
        champion_space=Space.from_json(champion.space) if champion else None,
        points=retune.plan.points,
        discount=retune.plan.discount,
        defaults=retune.plan.defaults,
        seed=study.seed,
    )


def _with_seed(space: Space, retune: Retune) -> Space:
    """Return the space of the search: its trials are told a seed as those that measure are."""
    key = retune.plan.seed_key
    if key in space.nodes:
        return space
    return with_key(space, key, Constant(search_seed(retune.plan, retune.number)))


def _seeded(
    results: Iterable[Mapping[str, Any]], space: Space, retune: Retune
) -> Iterator[dict[str, Any]]:
    """Yield known results in the space of the search, which has a seed."""
    rng = generator(retune.plan.study.get("seed") or 0, "seeds", retune.number)
    for result in results:
        params = space.complete(result["params"], sampled(rng))
        yield {"params": params, "value": result["value"]}
