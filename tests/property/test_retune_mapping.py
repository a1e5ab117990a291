"""The laws of mapping a space to another, on any two spaces."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from tuneflow.retune.mapping import SpaceMap
from tuneflow.searchers.base import sampled
from tuneflow.testing.spaces import spaces

seeds = st.integers(0, 99)


def drawn(space, seed):
    return space.build(sampled(random.Random(seed)))


def choose(seed):
    return sampled(random.Random(seed))


@given(spaces(), spaces(), seeds)
def test_a_point_is_accepted_by_todays_space(old, new, seed):
    point = SpaceMap(old, new).point(drawn(old, seed))
    if point is not None:
        assert point
        assert new.contains(new.complete(point, choose(1)))


@given(spaces(), spaces(), seeds)
def test_a_result_is_a_configuration_of_todays_space(old, new, seed):
    result = SpaceMap(old, new).result(drawn(old, seed), choose(1))
    if result is not None:
        assert new.explain(result) is None
        assert new.contains(json.loads(json.dumps(result)))


@given(spaces(), seeds)
def test_a_space_maps_to_itself_exactly(space, seed):
    mapped = SpaceMap(space, space)
    config = drawn(space, seed)
    if space.domains():
        assert json.dumps(mapped.result(config, choose(1))) == json.dumps(config)
        assert mapped.point(config) is not None
        assert json.dumps(space.complete(mapped.point(config), choose(1))) == json.dumps(config)
    assert all(change.kind == "same" for change in mapped.changes)


@given(spaces(), spaces(), seeds)
def test_what_a_result_has_of_the_past_is_what_its_point_has(old, new, seed):
    config, mapped = drawn(old, seed), SpaceMap(old, new)
    point, result = mapped.point(config), mapped.result(config, choose(1))
    if result is not None:
        assert point is not None
        assert new.complete(point, lambda path, _: new.values(result)[path]) == result


@given(spaces(), spaces(), seeds)
def test_mapping_is_a_function_of_its_arguments(old, new, seed):
    config = drawn(old, seed)
    one, other = SpaceMap(old, new), SpaceMap(old.from_json(old.to_json()), new)
    assert one.point(config) == other.point(config)
    assert one.result(config, choose(seed)) == other.result(config, choose(seed))
    assert one.changes == other.changes


@given(spaces(), spaces())
def test_every_parameter_of_either_space_has_one_change(old, new):
    mapped = SpaceMap(old, new)
    paths = [change.path for change in mapped.changes]
    assert len(set(paths)) == len(paths)
    assert set(paths) == {path for space in (old, new) for path, _ in space.leaves()}


@given(spaces(), spaces(), seeds)
def test_a_result_that_keeps_every_value_is_used(old, new, seed):
    mapped = SpaceMap(old, new)
    harmless = {"same", "widened", "changed", "new", "dropped"}
    if mapped.point(drawn(old, seed)) and {c.kind for c in mapped.changes} <= harmless:
        assert mapped.result(drawn(old, seed), choose(1)) is not None
