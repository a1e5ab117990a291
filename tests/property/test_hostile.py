"""Names, paths and values that somebody chose with care stay where they belong."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuneflow import tune
from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import SpecError, StorageError, TuneflowError
from tuneflow.objective.command import CommandObjective
from tuneflow.objective.stream import Context
from tuneflow.opened import OpenStudy
from tuneflow.space import Categorical, Float, Space
from tuneflow.store import Store
from tuneflow.trial import Failure, Segment
from tuneflow.views.html import read_outcomes, render

SCRIPT = "</script><script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
NASTY = [
    *("..", ".", "", "/", "a/../..", "../../x", "/etc/passwd", "~", "~root"),
    *("C:\\x", "\\\\host\\x", "a\x00b", "a\nb", "a#1", "%2e%2e", "%2e%2e%2fx", "..%2f"),
    *("$(id)", "`id`", "; rm -rf .", "-rf", "--help", "a?b=c", "a#b", "me:pass@host"),
    *("con", " ", "a b", "ü", "\ud800", "😀", "*", "x" * 200, SCRIPT),
]


names = st.sampled_from(NASTY) | st.text(max_size=30)


def inside(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@settings(deadline=None, max_examples=150)
@given(names)
def test_a_study_lies_below_its_storage_or_is_refused(name):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "outer", "storage")
        try:
            store = Store(root).child(name)
            store.create("study.json", b"1")
        except SpecError as error:
            assert error.field  # noqa: PT017 - what is asserted is the one way out
            assert inside(Path(folder)) == []
            return
        except StorageError:
            # The file system takes no such name.
            assert inside(Path(folder)) == []
            return
        [file] = inside(Path(folder))
        assert file.parent.parent == root
        assert Store(root).list() == [f"{name}/study.json"]


@settings(deadline=None, max_examples=150)
@given(names, names)
def test_a_key_lies_below_its_store_or_is_refused(first, second):
    with tempfile.TemporaryDirectory() as folder:
        store, key = Store(Path(folder, "outer", "storage")), f"{first}/{second}"
        try:
            store.put(key, b"1")
        except (SpecError, StorageError):
            assert inside(Path(folder)) == []
            return
        [file] = inside(Path(folder))
        assert file.is_relative_to(Path(folder, "outer", "storage"))
        assert store.get(key) == b"1"


@settings(deadline=None, max_examples=100)
@given(st.lists(names, min_size=1, max_size=3))
@example(["..", "..", "x"])
def test_members_of_a_checkpoint_are_restored_below_its_folder(parts):
    """A manifest that somebody wrote by hand, with a right checksum, names any path."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "model.bin").write_bytes(b"weights")
        store = Store(place / "outer" / "storage")
        checkpoints = Checkpoints(store)
        saved = checkpoints.save("a.json", place / "model.bin", resource=1)
        hostile = replace(saved, files=(replace(saved.files[0], path="/".join(parts)),))
        try:
            store.put("b.json", hostile.to_bytes())
        except SpecError:
            return
        target = place / "outer" / "target"
        before = set(inside(place))
        try:
            checkpoints.restore("b.json", target)
        except TuneflowError:
            assert set(inside(place)) == before
            return
        [restored] = set(inside(place)) - before
        assert restored.is_relative_to(target)


class TestCommands:
    ECHO = "import json, sys; print(json.dumps(sys.argv[1:])); print(json.dumps(dict(loss=1)))"

    def run(self, template, params, env=None):
        """Run a command with a configuration; return its arguments, and how it failed."""
        with tempfile.TemporaryDirectory() as folder:
            command = (sys.executable, "-c", self.ECHO, *template)
            context = Context(Segment(0, 0, params), "loss", 0, None, Path(folder, "trial", "work"))
            stream = CommandObjective(command, env or {}).open(context)
            try:
                event = stream.next(30)
                while event is None:
                    event = stream.next(30)
            finally:
                stream.close(5)
            said = context.log.getvalue().decode(errors="surrogateescape").splitlines()
            return json.loads(said[0]) if said else None, event

    def test_each_value_is_one_argument_as_it_is(self):
        values = [name for name in NASTY if "\x00" not in name and "\ud800" not in name]
        params = {f"p{number}": value for number, value in enumerate(values)}
        plain = [f"{{{name}}}" for name in params]
        glued = [f"--x={{{name}}}" for name in params]
        found, _ = self.run((*plain, *glued), params)
        assert found == [*values, *(f"--x={value}" for value in values)]

    def test_braces_in_a_value_are_no_placeholders(self):
        found, _ = self.run(("{a}",), {"a": "{directory}{a}"})
        assert found == ["{directory}{a}"]

    def test_a_value_that_no_program_can_be_given_is_one_clear_error(self):
        with pytest.raises(TuneflowError, match=r"cannot start .*null"):
            self.run(("{a}",), {"a": "a\x00b"})

    @pytest.mark.parametrize("name", ["__class__", "a.__class__", "0", "a[0]"])
    def test_a_placeholder_reaches_nothing_but_parameters(self, name):
        with pytest.raises(SpecError):
            tune(
                {"command": ["echo", f"{{{name}}}"]},
                space={"a": Float(0.0, 1.0)},
                metric="loss",
                mode="min",
                trials=1,
                storage="memory://hostile",
                searcher="random",
            )


class Elements(HTMLParser):
    """Collects the elements of a page and what its scripts hold."""

    def __init__(self):
        super().__init__()
        self.names, self.scripts, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.names and self.names[-1] == "script":
            self.scripts[-1] += data


def tuned(space, metrics, name, url):
    """Return the open study of a few trials of which some fail, and its outcomes."""

    def objective(config):
        if config["x"] > 0.6:
            raise RuntimeError(SCRIPT + IMAGE)
        return {metrics[0]: config["x"], metrics[1]: 1.0 - config["x"]}

    result = tune(
        objective,
        space=space,
        metric=list(metrics),
        mode=["max", "min"],
        searcher="random",
        trials=12,
        name=name,
        storage=url,
        progress=False,
    )
    opened = OpenStudy.open(result.url)
    return opened, read_outcomes(opened)


def test_everything_that_users_typed_is_text_in_the_report():
    x = Float(0.0, 1.0)
    hostile = Space({IMAGE.replace(".", ""): Categorical((SCRIPT, IMAGE)), "x": x})
    opened, outcomes = tuned(
        hostile, (f"loss {SCRIPT}", f"ms {IMAGE}"), "<b>h<i>", "memory://pages"
    )
    outcomes = [
        replace(
            outcome,
            worker=f"tcp://{SCRIPT}{IMAGE}",
            failure=outcome.failure and Failure(SCRIPT, IMAGE, SCRIPT + IMAGE),
        )
        for outcome in outcomes
    ]
    page, usual = Elements(), Elements()
    page.feed(render(opened.study, opened.history, f"s3://bucket/{IMAGE}{SCRIPT}", outcomes))
    space = Space({"kind": Categorical(("a", "b")), "x": x})
    plain, outcomes = tuned(space, ("accuracy", "ms"), "plain", "memory://pages")
    usual.feed(render(plain.study, plain.history, "s3://bucket/x", outcomes))
    assert set(page.names) == set(usual.names)
    assert "img" not in page.names
    assert not [name for name in page.attributes if name.startswith("on")]
    assert len(page.scripts) == len(usual.scripts)
    assert "alert(1)" not in page.scripts
