"""The laws of domains and spaces, on generated ones."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tuneflow.errors import SpecError
from tuneflow.space import Branch, Categorical, Float, Grid, Int, Normal, Space

TOP = math.nextafter(1.0, 0.0)

units = st.floats(0.0, TOP) | st.sampled_from([0.0, 5e-324, 0.5, TOP])
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


def made(kind, *args, **kwargs):
    """Make a domain, or turn to another example where it is refused."""
    try:
        return kind(*args, **kwargs)
    except SpecError:
        assume(False)


@st.composite
def floats(draw):
    low, high = sorted((draw(numbers), draw(numbers)))
    log = draw(st.booleans())
    spacing = draw(st.none() | st.floats(1e-6, 1e6) | st.integers(1, 40).map(lambda n: 1 / n))
    if spacing is None:
        return made(Float, low, high, log)
    low, high = sorted((draw(st.floats(-1e3, 1e3)), draw(st.floats(-1e3, 1e3))))
    return made(
        Float,
        abs(low) if log else low,
        abs(low) + high if log else high,
        log,
        **{draw(st.sampled_from(["step", "q"])): spacing},
    )


@st.composite
def integers(draw, widest=10**9, largest=2**70):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -largest, largest))
    high = low + draw(st.integers(0, widest) | st.integers(0, 20))
    name = draw(st.sampled_from(["step", "q"]))
    return made(Int, low, high, log, **{name: draw(st.integers(1, 9))})


normals = st.builds(
    Normal, st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.none() | st.floats(1e-3, 10)
)
ordered = floats() | integers() | normals
lists = st.lists(json_values, min_size=1, max_size=5)
listed = st.builds(made, st.sampled_from([Categorical, Grid]), lists)
domains = ordered | listed


@given(domains, units)
def test_whatever_is_drawn_is_inside(domain, u):
    assert domain.contains(domain.from_unit(u))


@given(domains, units)
def test_the_unit_of_a_value_lies_in_the_unit_interval(domain, u):
    assert 0.0 <= domain.to_unit(domain.from_unit(u)) < 1.0


@given(ordered, units, units)
def test_a_larger_u_never_gives_a_smaller_value(domain, one, other):
    low, high = domain.from_unit(min(one, other)), domain.from_unit(max(one, other))
    rounding = 0 if domain.size is not None else 4 * math.ulp(high)
    assert low <= high + rounding


@given(st.one_of(listed, integers(largest=10**6, widest=10**4)), st.data())
def test_every_value_that_can_be_counted_comes_back_from_its_unit(domain, data):
    index = data.draw(st.integers(0, domain.size - 1) | st.sampled_from([0, domain.size - 1]))
    value = domain.at(index)
    assert json.dumps(domain.from_unit(domain.to_unit(value))) == json.dumps(value)


@given(integers(widest=10**6), units)
def test_integers_of_any_size_come_back_from_their_unit(domain, u):
    value = domain.from_unit(u)
    assert domain.from_unit(domain.to_unit(value)) == value


@given(floats(), units)
def test_floats_come_back_from_their_unit(domain, u):
    value = domain.from_unit(u)
    back = domain.from_unit(domain.to_unit(value))
    if domain.size is not None and domain.size < 10**6:
        assert back == value
    else:
        scale = abs(value) if domain.log else domain.high - domain.low
        assert math.isclose(back, value, rel_tol=1e-9, abs_tol=1e-9 * scale)


@given(floats().filter(lambda domain: domain.spacing and domain.size <= 2000))
def test_the_steps_of_a_float_rise_and_lie_inside(domain):
    grid = domain.grid()
    assert all(low < high for low, high in itertools.pairwise(grid))
    assert all(domain.contains(value) for value in grid)
    assert domain.bounds == (grid[0], grid[-1])


@given(ordered, numbers)
def test_snapping_gives_a_value_and_keeps_values(domain, number):
    assume(abs(number) < 1e250)
    snapped = domain.snap(number)
    assert domain.contains(snapped)
    assert domain.snap(snapped) == snapped


@st.composite
def fields(draw, depth=2):
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=3))
    return {name: draw(nodes(depth)) for name in names}


def nodes(depth):
    constants = (
        st.none() | st.booleans() | st.integers() | st.text(max_size=2) | st.lists(st.integers())
    )
    if depth == 0:
        return domains | constants
    options = st.dictionaries(st.sampled_from(["x", "y", "z"]), fields(depth - 1), min_size=1)
    return domains | constants | fields(depth - 1) | options.map(Branch)


spaces = fields().map(Space)


def drawn(seed):
    rng = random.Random(seed)
    return lambda _, domain: domain.from_unit(rng.random())


@given(spaces)
def test_a_space_comes_back_from_json_and_from_pickle(space):
    data = json.loads(json.dumps(space.to_json()))
    assert Space.from_json(data) == space
    assert Space.from_json(data).to_json() == space.to_json()
    assert pickle.loads(pickle.dumps(space)) == space


@given(spaces, st.integers(0, 9))
def test_a_configuration_built_is_inside_and_is_rebuilt_from_its_values(space, seed):
    config = space.build(drawn(seed))
    assert space.explain(config) is None
    assert space.contains(json.loads(json.dumps(config)))
    values = space.values(config)
    assert set(values) <= set(space.domains())
    assert space.build(lambda path, _: values[path]) == config


@given(spaces, st.integers(0, 9), st.data())
def test_completing_part_of_a_configuration_stays_inside_and_keeps_the_part(space, seed, data):
    config = space.build(drawn(seed))
    names = data.draw(st.sets(st.sampled_from(sorted(config)))) if config else set()
    completed = space.complete({name: config[name] for name in names}, drawn(seed + 1))
    assert space.contains(completed)
    assert all(completed[name] == config[name] for name in names)


@settings(max_examples=50)
@given(spaces)
def test_the_grid_has_as_many_different_configurations_as_it_says(space):
    try:
        size = space.grid_size()
    except SpecError:
        return
    assume(size <= 500)
    grid = [json.dumps(config) for config in space.grid()]
    assert len(grid) == size == len(set(grid))
    assert all(space.contains(json.loads(config)) for config in grid)
