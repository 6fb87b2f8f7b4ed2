"""W2 of densities that are products of densities along the axes of a box."""

import math

import numpy as np
import ot
import pytest

from fvflow.mesh import Box, Grid
from fvflow.wasserstein import bounds, distance_1d, distance_on_circle
from fvflow.wasserstein.products import factors


def product(*parts):
    """The density (cell,) of factors along x, y, z."""
    values = np.ones(1)
    for part in parts:
        values = np.multiply.outer(part, values).reshape(-1)
    return values


def random_pair(random, mesh):
    """Factors of two densities of the same mass, some cells empty."""
    pairs = []
    for edges in mesh.edges:
        width = np.diff(edges)
        one, other = random.random((2, len(width))) * (random.random((2, len(width))) > 0.3)
        one[0], other[-1] = 1.0, 1.0
        pairs.append((one / (width @ one), other / (width @ other)))
    return list(zip(*pairs, strict=True))


def meshes():
    return [
        Box((0.0, -1.0), (2.0, 1.0), (9, 6)).build(),
        Grid((np.array([0.0, 0.1, 0.5, 1.5, 1.7]), np.array([0.0, 0.3, 0.4]))),
        Box((0.0, 0.0, 0.0), (1.0, 2.0, 3.0), (4, 3, 5)).build(),
        Grid((np.linspace(0, 1, 8), np.linspace(0, 2, 6)), (0,)),
        Grid((np.linspace(0, 1, 8), np.linspace(0, 2, 6)), (0, 1)),
    ]


@pytest.mark.parametrize("number", range(5))
def test_the_square_is_the_sum_of_those_along_the_axes(number):
    random, mesh = np.random.default_rng(number), meshes()[number]
    for mass in (1.0, 3.7):
        one, other = random_pair(random, mesh)
        along = [distance_on_circle if axis in mesh.periodic else distance_1d for axis in range(mesh.dimension)]
        exact = math.sqrt(mass * sum(w2(*each) ** 2 for w2, *each in zip(along, mesh.edges, one, other, strict=True)))
        found = bounds(mesh, mass * product(*one), mass * product(*other))
        assert found.reason == "exact"
        assert found.lower < exact < found.upper
        assert found.width <= 3e-6


@pytest.mark.parametrize("number", range(5))
def test_the_levels_that_know_nothing_of_products_agree(number, no_products):
    random, mesh = np.random.default_rng(number), meshes()[number]
    one, other = (product(*each) for each in random_pair(random, mesh))
    by_levels = bounds(mesh, one, other, width=2e-2)
    assert by_levels.reason != "exact"
    no_products.undo()
    found = bounds(mesh, one, other)
    assert by_levels.lower <= found.upper
    assert found.lower <= by_levels.upper
    weight = mesh.volume * one
    apart = np.sqrt(weight @ ((found.map - by_levels.map) ** 2).sum(axis=1) / weight.sum())
    assert apart <= 0.2 * found.upper
    slope = mesh.centre - found.map
    for axis in range(mesh.dimension):  # phi is a potential of the displacement: d phi/dx is x - T_x
        here = np.reshape(found.potential, mesh.shape)
        step = np.diff(here, axis=mesh.dimension - 1 - axis).ravel()
        assert np.abs(step).max() <= 1.5 * np.abs(slope[:, axis]).max() * np.diff(mesh.edges[axis]).max() + 1e-12


def test_potentials_and_maps_prove_it():
    """phi + psi is at most half the squared distance at all centres, and together they give the cost of atoms there."""
    random = np.random.default_rng(8)
    for mesh in (meshes()[0], meshes()[2]):
        one, other = (product(*each) for each in random_pair(random, mesh))
        found = bounds(mesh, one, other)
        cost = 0.5 * ((mesh.centre[:, None] - mesh.centre[None]) ** 2).sum(axis=2)
        assert (found.potential[:, None] + found.conjugate[None] <= cost + 1e-13).all()
        a, b = mesh.volume * one, mesh.volume * other
        atoms = ot.emd2(a / a.sum(), b / b.sum(), 2 * cost)
        assert math.sqrt(atoms) == pytest.approx(found.upper, rel=0.2)
        np.testing.assert_allclose(a @ found.map / a.sum(), b @ mesh.centre / b.sum(), atol=1e-10)
        np.testing.assert_allclose(b @ found.reverse_map / b.sum(), a @ mesh.centre / a.sum(), atol=1e-10)


def test_a_box_moves_and_widens_by_its_closed_form():
    """Uniform on [a, a + l] to uniform on [b, b + m]: the square of the centres' distance plus (l - m)^2/12."""
    mesh = Box((0.0, 0.0), (1.0, 1.0), (200, 100)).build()
    x, y = mesh.centre.T
    one = 1.0 * ((x < 0.2) & (y > 0.5))
    other = ((x > 0.4) & (y < 0.25)) * (0.1 / 0.15)
    square = 0.1 * ((0.7 - 0.1) ** 2 + (0.6 - 0.2) ** 2 / 12 + (0.75 - 0.125) ** 2 + (0.5 - 0.25) ** 2 / 12)
    found = bounds(mesh, one, other)
    assert found.lower < math.sqrt(square) < found.upper
    assert found.width < 1e-6


def test_what_is_nearly_a_product_goes_its_general_way():
    """What is off, however little, could be anywhere: it is in the interval, or the levels prove it."""
    random, mesh = np.random.default_rng(2), meshes()[0]
    one, other = (product(*each) for each in random_pair(random, mesh))
    exact = bounds(mesh, one, other)
    for off in (1e-16, 1e-9, 1e-3):
        moved = other.copy()
        moved[0] += off * other.sum()
        moved *= other.sum() / moved.sum()
        found = bounds(mesh, one, moved, width=1e-2)
        assert (found.reason == "exact") == (off < 1e-13)
        assert found.lower <= exact.upper + 3 * math.sqrt(off)
        assert exact.lower <= found.upper + 3 * math.sqrt(off)


def test_factors_tell_how_far_they_are_off():
    random = np.random.default_rng(0)
    a, b, c = random.random(5), random.random(7), random.random(3)
    masses = np.einsum("i,j,k->ijk", c, b, a)
    found = factors(masses)
    assert [len(each) for each in found.masses] == [5, 7, 3]
    for made, part in zip(found.masses, (a, b, c), strict=True):
        np.testing.assert_allclose(made, part / part.sum() * masses.sum(), rtol=1e-15)
    assert 0 < found.off < 1e-14 * masses.sum()
    masses[1, 2, 3] *= 1 + 1e-9
    assert factors(masses) is None


def test_nearly_equal_products_are_proved_in_their_own_way():
    """What round-off could move across the box is more than a tiny distance: the bounds of small distances hold it."""
    mesh = Box((0.0, 0.0), (1.0, 1.0), (64, 64)).build()
    x, y = mesh.centre.T
    one, shift = np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.02), 1e-5
    other = np.exp(-((x - 0.5 - shift) ** 2 + (y - 0.5) ** 2) / 0.02)
    one, other = one / one.sum() / mesh.volume[0], other / other.sum() / mesh.volume[0]
    found = bounds(mesh, one, other)
    assert found.lower <= shift * (1 + 1e-3)
    assert found.upper >= shift * (1 - 1e-3)
    assert found.width <= 2e-3
