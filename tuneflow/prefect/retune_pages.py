"""What a retune has come to, as Markdown: the verdict, the numbers behind it, the warm start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from tuneflow.convert import flatten
from tuneflow.prefect.markdown import block, escaped, table
from tuneflow.retune.line import Retune
from tuneflow.retune.records import Champion, Record
from tuneflow.retune.verdict import Comparison
from tuneflow.views import text

_HEADS: Final = {
    "promoted": "There is a new champion",
    "kept": "The champion stays",
    "failed": "The retune has failed, and the champion is who it was",
}


def verdict_page(retune: Retune, record: Record) -> str:
    """Return what a retune has come to.

    Args:
        retune: the retune.
        record: how it ended: promoted, kept or failed.
    """
    champion, challenger = compared(record)
    present = record.champion or retune.before
    parts = [
        f"# {escaped(_name(retune))}: retune {retune.number}",
        f"**{_HEADS[record.type]}:** {escaped(str(record.data['reason']))}",
        _facts(retune, record),
    ]
    if champion is not None or challenger is not None:
        parts += ["## Measured", _values(champion, challenger)]
    if record.comparison is not None:
        parts.append(_test(record.comparison))
    parts += [*_champion(present), *_warm_start(retune), _use(retune)]
    return "\n\n".join(parts)


def compared(record: Record) -> tuple[Champion | None, Champion | None]:
    """Return the champion and the challenger as a verdict has them, those that were measured."""
    new = record.type == "promoted"
    ours, theirs = ("before", "champion") if new else ("champion", "challenger")
    return _read(record.data.get(ours)), _read(record.data.get(theirs))


def caption(retune: Retune, record: Record) -> str:
    """Return what stands beside the page."""
    return f"Retune {retune.number} of {escaped(retune.line.url)}: {record.type}"


def _read(data: Any) -> Champion | None:
    return None if data is None else Champion.from_json(data)


def _name(retune: Retune) -> str:
    return retune.line.url.rpartition("/")[2]


def _facts(retune: Retune, record: Record) -> str:
    began = retune.began.data
    rows = (
        ("data", str(began["data_version"])),
        ("set off by", str(began["trigger"])),
        ("run", str(began["run"])),
        ("verdict", record.at),
    )
    return table(("", ""), [row for row in rows if row[1]])


def _values(champion: Champion | None, challenger: Champion | None) -> str:
    """Return the values of both, one row for each seed."""
    one = challenger or champion
    metric = escaped(one.metric) if one is not None else ""
    sign = -1.0 if one is not None and one.mode == "min" else 1.0
    ours, theirs = _by_seed(champion), _by_seed(challenger)
    rows = [
        (str(seed), _number(a), _number(b), _better(a, b, sign))
        for seed in dict.fromkeys((*ours, *theirs))
        for a, b in [(ours.get(seed), theirs.get(seed))]
    ]
    gained = _better(_value(champion), _value(challenger), sign)
    rows.append(("mean", _mean(champion), _mean(challenger), gained))
    return table((f"{metric} with seed", "champion", "challenger", "better by"), rows)


def _by_seed(one: Champion | None) -> dict[int, float]:
    return {} if one is None else dict(zip(one.seeds, one.values, strict=False))


def _value(one: Champion | None) -> float | None:
    return None if one is None else one.value


def _mean(one: Champion | None) -> str:
    if one is None:
        return ""
    error = one.standard_error
    return text.number(one.value) + (f" ± {text.number(error, 2)}" if error else "")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return text.number(value) if math.isfinite(value) else "no value"


def _better(ours: float | None, theirs: float | None, sign: float) -> str:
    """Return by how much the challenger's value is better; empty where that is not known."""
    if ours is None or theirs is None or not math.isfinite(theirs - ours):
        return ""
    return text.number(sign * (theirs - ours))


def _test(found: Comparison) -> str:
    """Return what the test has found, as a sentence."""
    if found.difference is None:
        return f"Nothing was tested: {found.n} seeds have a value of both."
    spread = f" ± {found.standard_error:.2g}" if found.standard_error else ""
    said = f"The challenger is better by {found.difference:.3g}{spread} (mean and standard error)"
    p_value = "" if found.p_value is None else f"; p = {found.p_value:.2g}"
    return (
        f"{said} over {text.plural(found.n, 'pair')}{p_value}. Asked for: more than "
        f"{found.margin:g}, with a confidence of {found.confidence:g} (test: {found.test})."
    )


def _champion(champion: Champion | None) -> Sequence[str]:
    if champion is None:
        return ["There is no champion yet."]
    rows = [(name, text.parameter(value)) for name, value in flatten(dict(champion.config)).items()]
    where = [("study", f"{champion.study}, trial {champion.trial}")]
    if champion.checkpoint is not None:
        where.append(("checkpoint", champion.checkpoint))
    return [
        "## Champion",
        table(("parameter", "value"), rows) if rows else "It has no parameters.",
        block(dict(champion.config)),
        table(("", ""), where),
    ]


def _warm_start(retune: Retune) -> Sequence[str]:
    notes = retune.notes()
    return ["## Warm start", "\n".join(f"- {escaped(note)}" for note in notes)] if notes else []


def _use(retune: Retune) -> str:
    url = text.clean(retune.line.url)
    commands = [f"tuneflow champion {verb} '{url}'" for verb in ("show", "history", "rollback")]
    return "\n".join(["```bash", *commands, "```"])
