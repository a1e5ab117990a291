"""Ray Tune's names, with the meaning that Ray Tune documents."""

from __future__ import annotations

import pytest

from tuneflow import space
from tuneflow.errors import SpecError


@pytest.mark.parametrize(
    ("made", "meant"),
    [
        (space.uniform(0, 1), space.Float(0, 1)),
        (space.quniform(3.2, 5.4, 0.2), space.Float(3.2, 5.4, q=0.2)),
        (space.loguniform(1e-4, 0.1), space.Float(1e-4, 0.1, log=True)),
        (space.qloguniform(1e-4, 0.1, 5e-5), space.Float(1e-4, 0.1, log=True, q=5e-5)),
        (space.randn(), space.Normal(0, 1)),
        (space.randn(10, 2), space.Normal(10, 2)),
        (space.qrandn(10, 2, 0.2), space.Normal(10, 2, q=0.2)),
        (space.randint(1, 9), space.Int(1, 8)),
        (space.qrandint(-21, 12, 3), space.Int(-21, 12, q=3)),
        (space.qrandint(1, 9), space.Int(1, 9, q=1)),
        (space.lograndint(1, 10), space.Int(1, 9, log=True)),
        (space.qlograndint(1, 10, 2), space.Int(1, 10, log=True, q=2)),
        (space.choice(["a", "b"]), space.Categorical(("a", "b"))),
        (space.choice(range(3)), space.Categorical((0, 1, 2))),
        (space.grid_search([1, 2]), space.Grid((1, 2))),
        (space.sample_from("builtins:len"), space.Derived("builtins:len")),
        (space.branch({"a": {}}, key="kind"), space.Branch({"a": {}}, key="kind")),
    ],
)
def test_each_name_makes_the_domain_it_means(made, meant):
    assert made == meant


def test_the_upper_bound_is_excluded_where_ray_excludes_it_and_reached_where_it_does_not():
    assert space.randint(0, 3).grid() == (0, 1, 2)
    assert space.lograndint(1, 4).grid() == (1, 2, 3)
    assert space.qrandint(2, 10, 2).grid() == (2, 4, 6, 8, 10)
    assert space.qlograndint(1, 10, 5).grid() == (5, 10)
    assert space.quniform(0, 1, 0.5).grid() == (0.0, 0.5, 1.0)


@pytest.mark.parametrize("maker", [space.randint, space.lograndint])
def test_an_empty_range_of_integers_is_refused(maker):
    with pytest.raises(SpecError, match="excluded"):
        maker(3, 3)


def test_a_choice_between_sub_spaces_points_to_branch():
    with pytest.raises(SpecError, match="branch"):
        space.choice([{"C": space.uniform(0, 1)}, {"trees": space.randint(1, 9)}])


def test_sample_from_takes_a_path_and_no_function():
    with pytest.raises(SpecError, match="module that the workers can import"):
        space.sample_from(lambda config: config["a"])
