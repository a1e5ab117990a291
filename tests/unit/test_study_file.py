"""Study files: YAML as people mean it, settings on the command line, and places."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.plugins import known, load, make
from tuneflow.spec import STUDY_KEYS, study_from_json
from tuneflow.study_file import PLACE_KEYS, assign, choose_executor, load_study_file
from tuneflow.yaml_text import parse

TEXT = """
objective: train.py:train
space:
  lr: {type: float, low: 1e-4, high: 1e-1, log: true}
  act: {type: categorical, choices: [on, off, 1e-3, 010, 1:30, 2026-01-01, ~, no]}
metric: loss
mode: min
trials: 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "digits" / "study.yaml"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-4", 1e-4),
            ("1E5", 1e5),
            ("-2.5e+3", -2500.0),
            (".5", 0.5),
            ("3.", 3.0),
            ("81", 81),
            ("010", 10),
            ("0x1F", 31),
            ("0o17", 15),
            ("-7", -7),
            ("true", True),
            ("FALSE", False),
            ("~", None),
            ("", None),
            ("null", None),
            ("yes", "yes"),
            ("off", "off"),
            ("1:30", "1:30"),
            ("1_000", "1_000"),
            ("2026-01-01", "2026-01-01"),
            ("'1e-4'", "1e-4"),
            ("[1, a]", [1, "a"]),
        ],
    )
    def test_scalars_are_those_of_yaml_1_2(self, text, value):
        found = parse(text)
        assert found == value
        assert type(found) is type(value)

    def test_a_key_that_is_there_twice_is_an_error(self):
        with pytest.raises(yaml.YAMLError, match="the key 'a' is there twice"):
            parse("x:\n  a: 1\n  b: 2\n  a: 3\n")

    def test_merging_may_repeat_keys(self):
        assert parse("a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  x: 3\n")["b"] == {"x": 3, "y": 2}

    def test_nothing_but_data_is_made(self):
        with pytest.raises(yaml.YAMLError):
            parse("!!python/object/apply:os.getcwd []")


class TestLoading:
    def test_a_file_called_study_is_named_after_its_folder(self, file):
        assert load_study_file(file).study.name == "digits"

    def test_also_where_the_path_names_no_folder(self, file, monkeypatch):
        monkeypatch.chdir(file.parent)
        assert load_study_file(Path("study.yaml")).study.name == "digits"

    def test_another_file_gives_its_own_name(self, file):
        path = file.rename(file.with_name("small.yaml"))
        assert load_study_file(path).study.name == "small"

    def test_values_are_what_people_mean(self, file):
        choices = load_study_file(file).study.space.to_json()["act"]["choices"]
        assert choices == ["on", "off", 1e-3, 10, "1:30", "2026-01-01", None, "no"]

    def test_where_it_runs_is_not_part_of_the_study(self, file):
        file.write_text(TEXT + "storage: s3://bucket/studies\nexecutor: {type: dask, workers: 3}\n")
        found = load_study_file(file)
        assert found.storage == "s3://bucket/studies"
        assert found.executor == {"type": "dask", "workers": 3}
        assert not {"storage", "executor"} & found.study.to_json().keys()

    def test_a_file_may_leave_out_where_it_runs(self, file):
        found = load_study_file(file)
        assert found.storage is None
        assert found.executor == {"type": "inline"}

    def test_a_relative_storage_starts_at_the_folder_of_the_file(self, file):
        file.write_text(TEXT + "storage: ./results\n")
        assert load_study_file(file).storage == str(file.parent / "results")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("- a", "is not a mapping of keys to values"),
            ("a: [", "is not YAML"),
            (TEXT + "storage: 3\n", "storage: 3 is not a URL or path"),
            (TEXT + "executor: [dask]\n", "executor: \\['dask'\\] is no executor"),
            (TEXT + "7: seven\n", "the key 7 is not a string"),
            (TEXT + "seed: .nan\n", "seed: nan cannot be written as JSON"),
            (TEXT + "budget: {target: !!timestamp 2026-01-01}\n", "budget.target: .* as JSON"),
            (TEXT + "metrics: [loss]\n", "metrics: unknown key; did you mean 'metric'?"),
        ],
    )
    def test_what_is_no_study_file(self, file, text, message):
        file.write_text(text)
        with pytest.raises(SpecError, match=message):
            load_study_file(file)

    def test_bytes_that_are_no_text(self, file):
        file.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SpecError, match="is not YAML"):
            load_study_file(file)


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "data"),
        [
            ("trials=5", {"trials": 5}),
            ("space.lr.high=1e-2", {"space": {"lr": {"high": 0.01}}}),
            ("scheduler.max_resource=27", {"scheduler": {"max_resource": 27}}),
            ("objective=train.py:other", {"objective": "train.py:other"}),
            ("budget={wall_clock: 3}", {"budget": {"wall_clock": 3}}),
            ("name=a=b", {"name": "a=b"}),
            ("trials=", {"trials": None}),
        ],
    )
    def test_a_dotted_key_and_a_yaml_value(self, setting, data):
        made = {}
        assign(made, setting)
        assert made == data

    def test_fields_of_a_plugin_that_is_given_by_name(self):
        data = {"executor": "dask", "scheduler": "asha"}
        assign(data, "executor.workers=4")
        assign(data, "scheduler.max_resource=9")
        assert data == {
            "executor": {"type": "dask", "workers": 4},
            "scheduler": {"type": "asha", "max_resource": 9},
        }

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("trials", "'trials' is not key=value; write --set trials=50"),
            ("=5", "is not key=value"),
            ("space..high=5", "is not key=value"),
            ("metric.name=x", "metric: 'loss' has no fields to set"),
            ("trials=[", "trials: '\\[' is not YAML"),
        ],
    )
    def test_what_is_no_setting(self, setting, message):
        with pytest.raises(SpecError, match=message):
            assign({"metric": "loss"}, setting)

    def test_settings_are_checked_like_the_file(self, file):
        with pytest.raises(SpecError, match=r"space\.lr"):
            load_study_file(file, ["space.lr.low=1"])
        with pytest.raises(SpecError, match="did you mean 'trials'"):
            load_study_file(file, ["trails=1"])

    def test_an_executor_that_is_chosen_keeps_the_settings_of_its_type_only(self):
        data = {"executor": {"type": "dask", "workers": 4}}
        choose_executor(data, "dask")
        assert data == {"executor": {"type": "dask", "workers": 4}}
        choose_executor(data, "inline")
        assert data == {"executor": {"type": "inline"}}

    def test_settings_go_on_top_of_the_executor_that_is_chosen(self, file):
        found = load_study_file(file, ["executor.workers=1"], "dask")
        assert found.executor == {"type": "dask", "workers": 1}


class TestTheDocumentation:
    DOCS = Path(__file__).parents[2] / "docs" / "study-file.md"

    def blocks(self):
        """Return the YAML examples, each made a whole study by the first one's other keys."""
        texts = re.findall(r"```yaml\n(.*?)```", self.DOCS.read_text(encoding="utf-8"), re.DOTALL)
        whole = parse(texts[0])
        return [{**whole, **parse(text)} for text in texts]

    def test_every_example_is_a_study(self):
        examples = self.blocks()
        assert len(examples) > 8
        for example in examples:
            parameters = {"lr": 1, "model": {"layers": 1}}
            space = parameters if "command" in example["objective"] else example["space"]
            study = {key: example[key] for key in STUDY_KEYS if key in example}
            assert study_from_json({**study, "space": space}).name == "digits"
            make("executor", example["executor"])

    def test_every_key_and_type_is_named(self):
        text = self.DOCS.read_text(encoding="utf-8")
        names = [*STUDY_KEYS, *PLACE_KEYS]
        names += [name for kind in ("searcher", "scheduler", "stopper") for name in known(kind)]
        names += [field.name for field in dataclasses.fields(Budget)]
        assert [name for name in names if f"`{name}`" not in text and f"{name}:" not in text] == []

    @pytest.mark.parametrize("kind", ["searcher", "scheduler", "stopper"])
    def test_the_table_has_each_type_with_its_own_fields(self, kind):
        text = self.DOCS.read_text(encoding="utf-8")
        (table,) = re.findall(rf"^\| {kind} \| fields \|\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
        rows = [line.split("|")[1:3] for line in table.splitlines()]
        said = {
            name: {*re.findall(r"`(\w+)`", fields)}
            for names, fields in rows
            for name in re.findall(r"`(\w+)`", names)
        }
        assert said.keys() == {*known(kind)}
        common = {"points_to_evaluate", "known_results", "environment"}
        for name, listed in said.items():
            fields = {field.name for field in dataclasses.fields(load(kind, name))}
            assert fields - common <= listed, name
