"""Barycentres: quantiles on a line, Gaussians in closed form, and what makes no barycentre."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError, OutputError
from fvflow.fields import gaussian_density
from fvflow.mesh import Box, Grid, Radial
from fvflow.wasserstein import barycentre, bures, distance_1d, interpolated_1d, transport_matrix
from fvflow.wasserstein.barycentre import pushed


def quantile_mean(edges, densities, weights):
    """The cell masses of the density whose quantile function is the mean, in rational arithmetic."""
    edges = [Fraction(float(edge)) for edge in edges]
    levels = []
    for density in densities:
        level = [Fraction(0)]
        for value, left, right in zip(density, edges[:-1], edges[1:], strict=True):
            level.append(level[-1] + Fraction(float(value)) * (right - left))
        levels.append([value / level[-1] for value in level])
    total = sum(map(Fraction, weights))

    def place(level, at, side):
        for i in range(len(edges) - 1):
            inside = level[i] < at < level[i + 1] or (at == level[i + 1] if side else at == level[i])
            if inside and level[i + 1] > level[i]:
                return edges[i] + (edges[i + 1] - edges[i]) * (at - level[i]) / (level[i + 1] - level[i])
        raise AssertionError

    marks = sorted({value for level in levels for value in level})
    masses = [Fraction(0)] * (len(edges) - 1)
    for start, end in pairwise(marks):
        near, far = (
            sum(Fraction(w) * place(level, at, side) for w, level in zip(weights, levels, strict=True)) / total
            for at, side in ((start, 0), (end, 1))
        )
        for i in range(len(masses)):
            part = max(min(far, edges[i + 1]) - max(near, edges[i]), Fraction(0))
            masses[i] += (end - start) * part / (far - near)
    return np.array([float(mass) for mass in masses])


def test_on_a_line_the_quantiles_are_averaged_exactly():
    random = np.random.default_rng(0)
    for _ in range(5):
        edges = np.sort(random.uniform(-1, 2, 13))
        densities = [random.random(12) ** 3 * (random.random(12) < 0.7) + 1e-6 for _ in range(3)]
        densities = [density / (np.diff(edges) @ density) for density in densities]
        weights = random.uniform(0.1, 1.0, 3)
        found = barycentre(Grid((edges,)), densities, weights)
        np.testing.assert_allclose(found.density * np.diff(edges), quantile_mean(edges, densities, weights), atol=1e-10)
        share = weights / weights.sum()
        exact = share @ [distance_1d(edges, found.density, density) ** 2 for density in densities]
        assert found.lower <= exact <= found.upper
        assert found.gap < 1e-9


def test_two_densities_on_a_line_have_their_geodesic():
    edges = np.linspace(0.0, 1.0, 41)
    random = np.random.default_rng(1)
    one, other = (density / density.mean() for density in random.random((2, 40)))
    found = barycentre(Grid((edges,)), [one, other], [3.0, 1.0])
    np.testing.assert_allclose(found.density, interpolated_1d(edges, one, other, 0.25), atol=1e-12)
    alone = barycentre(Grid((edges,)), [one])
    np.testing.assert_allclose(alone.density, one, atol=1e-12)
    assert alone.residual < 1e-12
    assert alone.lower == 0


def gaussians():
    """Means, covariances and weights, and the barycentre by its fixed point S = sum w (S^1/2 S_k S^1/2)^1/2."""
    means = np.array([[0.4, 0.45], [0.55, 0.5], [0.5, 0.6]])
    turns = [np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) for t in (0.3, 1.2, 0.0)]
    axes = [np.diag([0.06, 0.04]), np.diag([0.07, 0.05]), np.diag([0.05, 0.05])]
    covariances = [turn @ axis**2 @ turn.T for turn, axis in zip(turns, axes, strict=True)]
    weights, covariance = np.array([0.5, 0.3, 0.2]), covariances[0]
    for _ in range(100):
        matrix = sum(w * transport_matrix(covariance, other) for w, other in zip(weights, covariances, strict=True))
        covariance = matrix @ covariance @ matrix.T
    return means, covariances, weights, weights @ means, covariance


def test_gaussians_at_128():
    """The mean to 1e-5, the covariance to 1e-4, and the functional near its interval: that of the iterate."""
    means, covariances, weights, mean, covariance = gaussians()
    box = Box((0.0, 0.0), (1.0, 1.0), (128, 128)).build()
    densities = [gaussian_density(box, m, s, "average") for m, s in zip(means, covariances, strict=True)]
    densities = [density / (box.volume @ density) for density in densities]
    found = barycentre(box, densities, weights)
    mass = box.volume * found.density
    away = box.centre - mass @ box.centre
    np.testing.assert_allclose(mass @ box.centre, mean, atol=1e-5)
    np.testing.assert_allclose((away * mass[:, None]).T @ away, covariance, atol=2.5e-5)
    exact = weights @ [bures(mean, covariance, m, s) ** 2 for m, s in zip(means, covariances, strict=True)]
    assert found.lower <= exact * (1 + 1e-3)
    assert found.upper >= exact * (1 - 1e-3)
    assert found.gap <= 3e-3
    assert found.residual**2 <= 1e-3 * found.upper
    assert found.rounds <= 4
    other = barycentre(box, densities, weights, rounds=1)
    assert other.lower > found.upper


def test_boxes_on_a_graded_box_move_as_a_whole():
    """A translated box has its barycentre half way, mass is kept, and a map that is the identity changes nothing."""
    random = np.random.default_rng(2)
    edges = tuple(np.concatenate([[0.0], np.cumsum(random.uniform(0.5, 1.0, n))]) for n in (12, 9))
    mesh = Grid(edges)
    density = random.random(mesh.cells)
    np.testing.assert_allclose(pushed(mesh, density, mesh.centre), density, rtol=1e-12)
    to = mesh.centre + random.normal(0.0, 1.0, mesh.centre.shape)
    assert mesh.volume @ pushed(mesh, density, to) == pytest.approx(mesh.volume @ density, rel=1e-13)
    box = Box((0.0, 0.0), (16.0, 16.0), (16, 16)).build()
    one, other = np.zeros((2, 16, 16))
    one[3:7, 2:6], other[7:11, 8:12] = 2.0, 2.0
    found = barycentre(box, [one.ravel(), other.ravel()])
    middle = np.zeros((16, 16))
    middle[5:9, 5:9] = 2.0
    assert np.abs(found.density - middle.ravel()).sum() <= 0.05 * middle.sum()
    assert found.lower <= 32.0 * 13.0 <= found.upper * (1 + 1e-3)


CASE = """
mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [24, 24]}
flow:
  kind: barycentre
  weights: [1, 3]
  of:
    - {kind: gaussian, mean: [0.35, 0.4], covariance: [[0.006, 0], [0, 0.003]]}
    - {kind: gaussian, mean: [0.6, 0.6], covariance: [[0.003, 0], [0, 0.006]]}
"""


def test_the_flow_has_one_frame_and_its_figures(tmp_path):
    case = Case.parse(CASE)
    simulation = case.prepare()
    figures = case.write(tmp_path / "b.nc", simulation=simulation)
    found = barycentre(simulation.mesh, simulation.problem.given, (1.0, 3.0))
    assert (figures["functional_lower"], figures["functional_upper"]) == (found.lower, found.upper)
    assert figures["residual"] == found.relative_residual
    assert figures["functional_gap"] == found.gap < 5e-2
    with fvflow.read(tmp_path / "b.nc") as ds:
        assert ds.sizes["time"] == 1
        np.testing.assert_array_equal(ds.rho[0].values.ravel(), found.density)
        assert ds.attrs["given_1_off_mesh"] < 1e-3
        mean = ds["mean"][0].values
    np.testing.assert_allclose(mean, [0.5375, 0.55], atol=2e-3)


def test_an_iterate_goes_on_to_the_same_density():
    simulation = Case.parse(CASE).replace({"mesh.cells": [12, 12]}).prepare()
    mesh, given, kept = simulation.mesh, simulation.problem.given, []
    whole = barycentre(mesh, given, width=1e-6, progress=lambda *told: kept.append(told))
    assert [number for number, _, _ in kept] == sorted(number for number, _, _ in kept)
    assert kept[0][:2] == (0, np.inf)
    iterate = next(iterate for number, _, iterate in kept if number == 1)
    again = barycentre(mesh, given, width=1e-6, start=iterate)
    np.testing.assert_array_equal(again.density, whole.density)
    assert (again.lower, again.upper, again.rounds) == (whole.lower, whole.upper, whole.rounds)
    with pytest.raises(OutputError, match="does not hold an iterate"):
        barycentre(mesh, given, start={**iterate, "round": 99})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow.weights": [1]}, "1 weights for 2 densities; give one for each"),
        ({"flow.weights": [1, 0]}, r"flow\.weights"),
        ({"initial": {"kind": "uniform"}}, "flow barycentre has its densities in `of`; leave initial out"),
        ({"times": {"end": 1, "step": 0.1}}, "computed directly, without steps in time; remove times"),
        ({"flow.of.1.mass": 2}, r"flow\.of\.1: the density has the mass 2, the first one 1; equal ones are needed"),
        ({"flow.of.0.mean": [0.01, 0.4]}, r"flow\.of\.0: .* of the density is outside the mesh"),
        ({"mesh.axisymmetric": True}, "flow barycentre needs a line, a circle or a box"),
        ({"exact": {"kind": "gibbs"}}, "flow barycentre has no closed form"),
    ],
)
def test_what_has_no_barycentre(changes, message):
    with pytest.raises(CaseError, match=message):
        Case.parse(CASE).replace(changes).prepare()


def test_what_the_function_refuses():
    line = Grid((np.linspace(0.0, 1.0, 5),))
    for densities, weights, message in (
        ([], None, "no density"),
        ([np.ones(4)], [1.0, 2.0], "2 weights for 1 densities"),
        ([np.ones(4)], [-1.0], "the weight -1 is not > 0"),
        ([np.ones(4), np.full(4, 2.0)], None, "masses 1 and 2 differ"),
    ):
        with pytest.raises(CaseError, match=message):
            barycentre(line, densities, weights)
    with pytest.raises(CaseError, match="proved on lines, circles and boxes"):
        barycentre(Radial(dimension=2, outer=1.0, cells=4).build(), [np.ones(4)])
