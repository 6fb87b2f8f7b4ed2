"""Full tensors of diffusion: moments, sign, equilibria and orders on boxes in two and three dimensions."""

import numpy as np
import pytest
from scipy.linalg import expm

from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.fields import Diffusion, Drift, Expression
from fvflow.fluxes import ScharfetterGummel
from fvflow.linalg import divergence
from fvflow.mesh import Box
from fvflow.problems import FokkerPlanck, diffusivity
from fvflow.problems.selling import selling

TURN = np.deg2rad(17)
AXES = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
ROTATED = AXES @ np.diag([1, 0.01]) @ AXES.T
START = np.array([[0.15, 0.05], [0.05, 0.2]])
PLANE = """
mesh: {kind: box, lower: [-6, -6], upper: [6, 6], cells: [60, 75]}
flow: {kind: fokker-planck, epsilon: 1}
initial: {kind: gaussian, mean: [0.1, 0.2], covariance: [[0.15, 0.05], [0.05, 0.2]]}
times: {end: 0.1, step: 0.01, save: 0.1}
"""


def rows(matrix):
    return [[float(entry) for entry in row] for row in matrix]


def run(text=PLANE, stepper="implicit-euler", diffusion=None, potential=None, velocity=None, kind=None, **changes):
    flow = {
        "kind": "fokker-planck",
        "diffusion": {"value": rows(ROTATED)} if diffusion is None else diffusion,
        "potential": potential,
        "velocity": velocity,
        "stepper": {"kind": stepper},
    }
    if kind is not None:
        flow = {**flow, "kind": kind}
        del flow["stepper"]
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return Case.parse(text).replace({"flow": flow, **changes}).run()


def test_no_cell_is_left_out_at_an_anisotropy_of_ten_thousand():
    """All directions leave the box from its corners; half of the smallest eigenvalue then goes along the axes."""
    tensor = AXES @ np.diag([1, 1e-4]) @ AXES.T
    ds = run(diffusion={"value": rows(tensor)}, mesh__cells=[96, 80], times={"end": 1e7, "step": 1e6, "save": 1e7})
    assert abs(ds.rho.values[-1] * 144 - 1).max() <= 1e-9
    times = {"end": 0.05, "step": 0.05, "save": 0.05}
    ds = run(diffusion={"value": rows(tensor)}, stepper="chebyshev", mesh__cells=[192, 160], times=times)
    covariance = ds.covariance.values
    assert abs(covariance[1] - covariance[0] - 0.1 * tensor).max() <= 1e-10


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_decomposition_gives_the_matrix_with_weights_of_one_sign(dimension):
    root = np.random.default_rng(0).normal(size=(500, dimension, dimension))
    matrices = root @ np.swapaxes(root, 1, 2) + 1e-3 * np.eye(dimension)
    weights, offsets = selling(matrices)
    sums = np.einsum("pk,pka,pkb->pab", weights, offsets.astype(float), offsets.astype(float))
    assert weights.min() >= 0
    assert offsets.shape == (500, dimension * (dimension + 1) // 2, dimension)
    assert abs(sums - matrices).max() <= 1e-12 * abs(matrices).max()
    assert (np.gcd.reduce(offsets[weights > 0], axis=1) == 1).all()


@pytest.mark.parametrize("stepper", ["implicit-euler", "crank-nicolson", "chebyshev", "uniformisation"])
def test_second_moments_are_exact_for_any_anisotropy(stepper):
    """S0 + 2 D t while nothing reaches the walls; the widths of the cells differ between the axes."""
    ds = run(stepper=stepper)
    covariance, mean = ds.covariance.values, ds["mean"].values
    assert abs(covariance[1] - covariance[0] - 0.2 * ROTATED).max() <= 1e-10
    assert abs(mean[1] - mean[0]).max() <= 1e-11
    assert ds.attrs["mass_drift"] <= 1e-14


def test_second_moments_are_exact_in_three_dimensions():
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    tensor = axes @ np.diag([1, 0.2, 0.05]) @ axes.T
    ds = run(
        stepper="chebyshev",
        diffusion={"value": rows(tensor)},
        mesh={"kind": "box", "lower": [-6] * 3, "upper": [6] * 3, "cells": [30, 26, 28]},
        initial={"kind": "gaussian", "mean": [0, 0.1, 0.2], "covariance": rows(0.2 * np.eye(3))},
        times={"end": 0.02, "step": 0.02, "save": 0.02},
    )
    covariance = ds.covariance.values
    assert abs(covariance[1] - covariance[0] - 0.04 * tensor).max() <= 1e-10
    assert float(ds.minimum.min()) >= -1e-14


def test_the_covariance_grows_by_a_tensor_that_varies():
    """ito and D affine: the mean rests, so that the mean of D does, and the covariance grows by 2 D(mean) t."""
    tensor = [["1 + 0.05*x", 0.3], [0.3, "0.3 + 0.02*y"]]
    ds = run(diffusion={"value": tensor, "convention": "ito"}, stepper="chebyshev")
    mean, covariance = ds["mean"].values, ds.covariance.values
    exact = np.array([[1 + 0.05 * mean[0, 0], 0.3], [0.3, 0.3 + 0.02 * mean[0, 1]]])
    assert abs(mean[1] - mean[0]).max() <= 1e-12
    assert abs(covariance[1] - covariance[0] - 0.2 * exact).max() <= 1e-9


def test_a_spike_stays_non_negative():
    ds = run(initial={"kind": "spike", "at": [0.1, 0.2]}, times={"end": 1, "step": 0.1, "save": 0.1})
    assert float(ds.minimum.min()) >= 0
    assert ds.attrs["mass_drift"] <= 1e-14


def gaussian(ds, covariance):
    x, y = np.meshgrid(ds.x.values - 0.1, ds.y.values - 0.2)
    at = np.stack([x, y], axis=-1)
    return np.exp(-0.5 * np.einsum("yxa,ab,yxb->yx", at, np.linalg.inv(covariance), at)) / (
        2 * np.pi * np.sqrt(np.linalg.det(covariance))
    )


def test_a_gaussian_spreads_with_order_two():
    """At anisotropy 100, turned by 17 degrees, dt in proportion to h^2."""
    errors = []
    for n, step in ((48, 0.08), (96, 0.02), (192, 0.005)):
        ds = run(
            mesh={"kind": "box", "lower": [-6, -6], "upper": [6, 6], "cells": [n, n]},
            times={"end": 0.32, "step": step, "save": 0.32},
            initial__sampling="centre",
        )
        errors.append(abs(ds.rho.values[-1] - gaussian(ds, START + 0.64 * ROTATED)).sum() * (12 / n) ** 2)
        assert float(ds.minimum.min()) >= 0
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 2) < 0.15).all(), errors


@pytest.mark.parametrize("value", [rows(ROTATED), [["2 + sin(x)", "cos(y)"], ["cos(y)", "1.5 + cos(x)*sin(y)"]]])
def test_the_gibbs_state_of_a_temperature_is_kept(value):
    diffusion = {"value": value, "convention": "isothermal", "temperature": 0.5}
    ds = run(
        diffusion=diffusion,
        potential="0.5*x**2 + 0.3*y**2 + sin(x*y)",
        mesh={"kind": "box", "lower": [-3, -2], "upper": [3, 2], "cells": [24, 20]},
        initial={"kind": "gibbs"},
        exact={"kind": "gibbs"},
        times={"end": 100, "step": 0.1, "save": 100},
    )
    start, end = ds.rho.values
    assert abs(end / start - 1).max() <= 1e-13
    assert float(abs(ds.dissipation).max()) <= 1e-13
    assert float(ds.error_l1[-1]) <= 1e-13


def test_the_energy_falls_at_any_step():
    ds = run(
        diffusion={"value": rows(ROTATED), "temperature": 0.5},
        potential="0.5*x**2 + 0.3*y**2",
        times={"end": 20, "step": 0.5, "save": 0.5},
    )
    assert (np.diff(ds.energy.values) < 1e-14).all()
    assert float(ds.dissipation[0]) > 0


def test_the_rates_of_a_quadratic_potential():
    """dX = -(D/T) S X dt + sqrt(2 D) dW: rates are sums of eigenvalues of D S/T."""
    form, temperature, errors = np.array([[1.0, 0.3], [0.3, 0.8]]), 0.5, []
    tensor = AXES @ np.diag([1, 0.2]) @ AXES.T
    slow, fast = sorted(np.linalg.eigvals(tensor @ form / temperature).real)
    exact = sorted([slow, 2 * slow, 3 * slow, 4 * slow, fast])[:3]
    for n in (30, 60, 120):
        ds = run(
            "mesh: {kind: box, lower: [-5, -5], upper: [5, 5], cells: [9, 9]}\nflow: {kind: spectrum, epsilon: 1}\n",
            mesh__cells=[n, n],
            kind="spectrum",
            diffusion={"value": rows(tensor), "temperature": temperature},
            potential="0.5*x**2 + 0.3*x*y + 0.4*y**2",
        )
        errors.append(max(abs(ds.attrs[f"rate_{i + 1}"] / exact[i] - 1) for i in range(3)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 2) < 0.2).all(), errors


def test_moments_with_a_wind_have_order_two():
    """dX = A X dt + sqrt(2 D) dW, A not a gradient: mean and covariance of their linear ODE."""
    drift, errors = np.array([[-0.5, 0.8], [-0.6, -0.4]]), []
    tensor = AXES @ np.diag([1, 0.1]) @ AXES.T
    for n in (40, 80, 160):
        ds = run(
            stepper="chebyshev",
            diffusion={"value": rows(tensor)},
            velocity=["-0.5*x + 0.8*y", "-0.6*x - 0.4*y"],
            mesh={"kind": "box", "lower": [-6, -6], "upper": [6, 6], "cells": [n, n]},
            times={"end": 0.3, "step": 0.3, "save": 0.3},
        )
        mean, covariance = ds["mean"].values, ds.covariance.values
        limit = np.linalg.solve(np.kron(drift, np.eye(2)) + np.kron(np.eye(2), drift), -2 * tensor.ravel())
        limit, flow = limit.reshape(2, 2), expm(0.3 * drift)
        exact = flow @ (covariance[0] - limit) @ flow.T + limit
        errors.append(max(abs(covariance[1] - exact).max(), abs(mean[1] - flow @ mean[0]).max()))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 2) < 0.2).all(), errors


@pytest.mark.parametrize(("convention", "power"), [("ito", 1), ("isothermal", 0)])
def test_a_tensor_that_varies_is_consistent(convention, power):
    """Of rho = cos x cos y: div(v rho - D grad rho), or div(v rho) - d_i d_j (D_ij rho), inside, in the mean."""
    value = ("2 + sin(x)", "cos(y)"), ("cos(y)", "2 + sin(y)")
    wind, errors = Drift(velocity=(Expression("3*y"), Expression("2*x"))), []
    for n in (40, 80, 160):
        mesh = Box((0.0, 0.0), (3.0, 3.0), (n, n)).build()
        coefficient = diffusivity(mesh, Diffusion(value, convention), {}, 1.0)
        problem = FokkerPlanck(mesh, wind, 1.0, ScharfetterGummel(), diffusivity=coefficient)
        x, y = mesh.centre.T
        outflow = divergence(problem.graph, problem.flux(np.cos(x) * np.cos(y), 0.0)) / mesh.volume
        laplacian = -(4 + np.sin(x) + np.sin(y)) * np.cos(x) * np.cos(y) + 2 * np.cos(y) * np.sin(x) * np.sin(y)
        first = -np.cos(x) * np.sin(x) * np.cos(y) - np.cos(y) * np.cos(x) * np.sin(y)  # d_i D_ii d_i rho
        mixed = np.sin(y) * np.sin(x) * np.cos(y)  # d_y D_xy d_x rho
        exact = laplacian + first + mixed + 3 * y * np.sin(x) * np.cos(y) + 2 * x * np.cos(x) * np.sin(y)
        if power:  # d_i (rho d_j D_ij)
            second = -(np.sin(x) + np.sin(y)) * np.cos(x) * np.cos(y)
            exact += first + mixed + second
        inside = (abs(mesh.centre - 1.5) < 1.0).all(axis=1)
        errors.append(abs(outflow + exact)[inside].mean())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 1.85).all(), errors


def test_a_diagonal_matrix_is_the_list_of_its_entries():
    full, listed = (
        run(diffusion={"value": value, "temperature": 0.7}, potential="0.5*x**2").rho.values
        for value in ([[2, 0], [0, 0.5]], [2, 0.5])
    )
    np.testing.assert_allclose(full, listed, rtol=1e-10, atol=1e-30)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"diffusion": {"value": [[1, 2], [0, 1]]}}, "is [1 2; 0 1] at x = -5.9, y = -5.92; it has to be symmetric"),
        ({"diffusion": {"value": [[1, 2], [2, 1]]}}, "it has to be positive definite everywhere"),
        (
            {"diffusion": {"value": [["x", 0.1], [0.1, 1]], "convention": "ito"}},
            "is [-5.9 0.1; 0.1 1] at x = -5.9, y = -5.92; it has to be positive definite",
        ),
        ({"diffusion": {"value": [["1 + t", 0.1], [0.1, 1]]}}, "a full tensor of diffusion cannot depend on t"),
        ({"diffusion": {"value": [["2 + sin(x)", 0.1], [0.1, 1]]}}, "convention is missing"),
        (
            {"diffusion": {"value": [["2 + sin(x)", 0.1], [0.1, 1]], "convention": "stratonovich"}},
            "stratonovich has no meaning for a full tensor",
        ),
        ({"stepper": "split-euler"}, "stepper split-euler moves mass through faces"),
        ({"stepper": "muscl"}, "stepper muscl moves mass through faces"),
        ({"output": {"fluxes": True}}, "a full tensor of diffusion moves mass along diagonals"),
        (
            {"mesh": {"kind": "graded", "lower": [0, 0], "upper": [1, 1], "cells": [8, 8], "ratio": [2, 1]}},
            "needs a box of equal cells",
        ),
        ({"mesh": {"kind": "voronoi", "lower": [-6, -6], "upper": [6, 6], "cells": [8, 8]}}, "a box of equal cells"),
        ({"mesh__cells": [60, 2]}, "cells of the same shape along it, or a tensor of less anisotropy"),
        ({"diffusion": {"value": rows(np.eye(3))}}, "diffusion has 3 entries in 2 dimensions"),
    ],
)
def test_a_tensor_that_cannot_be_held_is_refused(keys, message):
    with pytest.raises(CaseError, match=message.replace("[", r"\[").replace("]", r"\]")):
        run(**keys)


def test_the_time_of_a_run_is_estimated_on_its_own_mesh():
    """Coarser ones may have no room for the directions."""
    text = PLANE.replace("epsilon: 1", f"diffusion: {{value: {rows(AXES @ np.diag([1, 1e-3]) @ AXES.T)}}}")
    assert "from one step" in Case.parse(text).check()["time"]
