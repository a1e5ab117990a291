"""The parameters of a space as search libraries know them, and the way back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneflow.errors import SpecError
from tuneflow.libraries.base import Parameter
from tuneflow.rng import generator
from tuneflow.searchers.axes import Axes
from tuneflow.searchers.base import sampled
from tuneflow.space import Categorical, Constant, Float, Grid, Int, Normal, Space, branch
from tuneflow.testing.spaces import spaces

OPTIMIZERS = branch({"sgd": {"momentum": Float(0, 1), "deep": {"k": Int(1, 3)}}, "adam": {}})


def parameter(domain):
    """Return what a library takes a domain for."""
    [found] = Axes(Space({"x": domain})).parameters
    return found


class TestParameters:
    def test_numbers_stay_what_they_are(self):
        assert parameter(Float(-1, 2)) == Parameter("x", "float", -1, 2)
        assert parameter(Float(1e-4, 1, log=True)) == Parameter("x", "float", 1e-4, 1, log=True)
        assert parameter(Int(1, 64, log=True)) == Parameter("x", "int", 1, 64, log=True)

    def test_equal_steps_become_positions(self):
        assert parameter(Float(0, 1, step=0.25)) == Parameter("x", "int", 0, 4)
        assert parameter(Int(10, 90, step=40)) == Parameter("x", "int", 0, 2)

    def test_lists_become_choices(self):
        assert parameter(Categorical(("a", None, [1]))) == Parameter("x", "choice", size=3)
        assert parameter(Grid((3, "x"))).size == 2

    @pytest.mark.parametrize(
        "domain",
        [Float(0, 1, q=0.5), Normal(0, 1, q=0.25), Float(1, 9, log=True, step=2), Int(0, 6, q=3)],
    )
    def test_rounded_values_become_a_unit_interval_that_snaps(self, domain):
        found = parameter(domain)
        assert (found.kind, found.low, found.snaps) == ("float", 0, True)
        assert found.high == math.nextafter(1, 0)

    def test_a_normal_becomes_a_unit_interval(self):
        assert not parameter(Normal(0, 1)).snaps

    @pytest.mark.parametrize(
        "domain", [Float(2, 2), Int(3, 3), Categorical(("a",)), Constant(1), Int(0, 5, step=9)]
    )
    def test_a_single_value_is_no_parameter_and_stands_in_the_configuration(self, domain):
        axes = Axes(Space({"x": domain, "y": Float(0, 1)}))
        assert [own.path for own in axes.parameters] == ["y"]
        assert axes.encode(axes.decode({"y": 0.5})) == {"y": 0.5}

    def test_huge_integers_lose_nothing_that_a_double_can_hold(self):
        axes = Axes(Space({"x": Int(-(2**60), 2**60), "y": Int(-(2**50), 2**50)}))
        first, second = axes.parameters
        assert (first.kind, second.kind) == ("float", "int")
        for value in (-(2**60), 0, 2**60, 12345678901):
            config = axes.decode(axes.encode({"x": value, "y": value % 2**50}))
            assert abs(config["x"] - value) <= 2**60 / 2**51
            assert config["y"] == value % 2**50

    def test_what_an_option_holds_depends_on_its_branch(self):
        found = {
            own.path: (own.parent, own.option) for own in Axes(Space({"o": OPTIMIZERS})).parameters
        }
        assert found == {"o": ("", -1), "o.sgd.momentum": ("o", 0), "o.sgd.deep.k": ("o", 0)}

    def test_a_branch_with_one_option_makes_nothing_conditional(self):
        inner = branch({"only": {"o": OPTIMIZERS}})
        found = {own.path: own.parent for own in Axes(Space({"a": inner})).parameters}
        path = "a.only.o"
        assert found == {path: "", f"{path}.sgd.momentum": path, f"{path}.sgd.deep.k": path}

    def test_parents_come_first(self):
        paths = [own.path for own in Axes(Space({"z": OPTIMIZERS, "a": Float(0, 1)})).parameters]
        assert paths.index("z") < paths.index("z.sgd.momentum")


class TestValues:
    @given(spaces(), st.integers(0, 2**32))
    @settings(max_examples=100, deadline=None)
    def test_a_configuration_comes_back_as_it_was(self, space, seed):
        axes, config = Axes(space), space.build(sampled(generator(seed)))
        again = axes.decode(axes.encode(config))
        assert space.contains(again)
        near = zip(space.values(config).items(), space.values(again).items(), strict=True)
        for (path, value), (other, found) in near:
            assert path == other
            # An integer beyond what doubles tell apart comes back nearly so.
            is_huge = isinstance(value, int) and abs(value) > 2**50
            expected = pytest.approx(value) if is_huge or isinstance(value, float) else value
            assert found == expected

    @given(spaces(), st.data())
    @settings(max_examples=100, deadline=None)
    def test_whatever_a_library_says_lies_in_the_space(self, space, data):
        axes = Axes(space)
        some = st.sampled_from([own.path for own in axes.parameters] or ["none"])
        numbers = st.floats(allow_nan=False) | st.integers(-3, 12)
        assert space.contains(axes.decode(data.draw(st.dictionaries(some, numbers))))

    def test_numbers_of_numpy_become_plain_ones(self):
        numpy = pytest.importorskip("numpy")
        axes = Axes(Space({"i": Int(0, 9), "f": Float(0, 1), "s": Int(0, 8, step=2)}))
        said = {"i": numpy.int64(3), "f": numpy.float32(0.5), "s": numpy.float64(1.2)}
        config = axes.decode(said)
        assert config == {"i": 3, "f": 0.5, "s": 2}
        assert [type(value) for value in config.values()] == [int, float, int]

    def test_what_is_left_out_is_in_the_middle(self):
        assert Axes(Space({"x": Float(0, 4)})).decode({}) == {"x": 2.0}

    @pytest.mark.parametrize(
        "domain", [Float(0, 1), Int(0, 5), Categorical(("a", "b")), Normal(), Int(0, 9, step=3)]
    )
    def test_nan_is_refused(self, domain):
        with pytest.raises(ValueError, match="NaN"):
            Axes(Space({"x": domain})).decode({"x": math.nan})

    def test_a_part_of_a_configuration_is_encoded_as_far_as_it_goes(self):
        axes = Axes(Space({"o": OPTIMIZERS, "x": Float(0, 1), "one": Int(1, 1)}))
        assert axes.encode_some({"one": 1, "o": {"type": "adam"}}) == {"o": 1}
        with pytest.raises(SpecError):
            axes.encode_some({"x": 2.0})
