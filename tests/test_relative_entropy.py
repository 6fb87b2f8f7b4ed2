"""The relative entropy to the equilibrium, and the rate at which it falls."""

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.mesh import Box
from fvflow.relative_entropy import Equilibrium, equilibrium_of, relative_entropy


def relaxing(**changes):
    text = """
mesh: {kind: box, lower: [-8], upper: [8], cells: [160]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: x**2, stepper: {kind: uniformisation}}
initial: {kind: gaussian, mean: [1], covariance: [[0.25]], sampling: centre}
times: {end: 2, step: 0.25, save: 0.25}
"""
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return Case.parse(text).replace(changes)


def test_the_relative_entropy_of_ornstein_uhlenbeck_falls_at_twice_the_rate_of_its_mean():
    """N(e^{-kt}, eps/k) has the relative entropy m^2 k/(2 eps), k = 2, eps = 1/2, to N(0, eps/k)."""
    errors = []
    for cells in (80, 160):
        ds = relaxing(mesh__cells=[cells]).run()
        exact = 2 * np.exp(-4 * ds.time)
        errors.append(float(np.abs(ds.relative_entropy / exact - 1).max()))
        assert ds.attrs["relative_entropy_rate"] == pytest.approx(4, rel=2 * errors[-1])
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] <= 0.06


def test_the_relative_entropy_keeps_its_digits_near_equilibrium():
    mesh = Box((-1.0,), (1.0,), (50,)).build()
    wave, pi = np.cos(np.pi * mesh.centre[:, 0]), np.full(50, 0.5)
    equilibrium = Equilibrium.of(np.log(pi))
    wave -= mesh.volume @ wave / 2
    for size in (1e-2, 1e-5, 1e-9):
        found = relative_entropy(mesh.volume, 3 * pi * (1 + size * wave), equilibrium)
        assert found == pytest.approx(0.5 * size**2 * (mesh.volume @ (pi * wave**2)), rel=2 * size + 1e-6)
    spike = np.eye(50)[7] / mesh.volume[7]
    assert relative_entropy(mesh.volume, spike, equilibrium) == pytest.approx(np.log(50), rel=1e-13)
    assert relative_entropy(mesh.volume, -spike, equilibrium) == np.inf


def test_it_is_the_free_energy_above_that_of_the_equilibrium():
    """In units of eps, for any flux that keeps it, and for gradient flows; and it never rises."""
    energies = [{"kind": "entropy", "epsilon": 0.5}, {"kind": "potential", "potential": "x**2"}]
    for changes in (
        {"flow__stepper": {"kind": "implicit-euler"}},
        {"flow": {"kind": "gradient-flow", "energy": energies}},
    ):
        case = relaxing(**changes)
        simulation = case.prepare()
        pi = equilibrium_of(simulation.problem, 0.0).density
        lowest = simulation.problem.energy(0.0).value(pi)
        ds = case.run()
        np.testing.assert_allclose(0.5 * ds.relative_entropy, ds.energy - lowest, atol=1e-13)
        assert (np.diff(ds.relative_entropy) < 0).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"flow__tilt": [1]},
        {"flow__potential": "x**2*(1 + t)", "flow__stepper": {"kind": "implicit-euler"}},
        {"walls": {"left": "absorbing"}},
        {"flow__stepper": {"kind": "muscl"}},
        {"flow__flux": {"kind": "upwind"}},
    ],
)
def test_without_a_known_equilibrium_there_is_no_relative_entropy(changes):
    ds = relaxing(**changes, times={"end": 0.5, "step": 0.25}).run()
    assert "relative_entropy" not in ds
    assert "relative_entropy_rate" not in ds.attrs


def test_at_equilibrium_no_rate_is_told():
    ds = relaxing(flow__potential="0", initial={"kind": "uniform"}).run()
    assert np.abs(ds.relative_entropy).max() < 1e-25
    assert "relative_entropy_rate" not in ds.attrs
