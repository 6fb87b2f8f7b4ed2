"""Diffusion that varies in space, time or direction: equilibria of the three conventions, closed forms, refusals."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import beta, gamma

from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Graded

D = "(1 + x**2*(1 + sin(5*x)))"
V = "(x**4 - x)"
POWERS = {"ito": 1.0, "stratonovich": 0.5, "isothermal": 0.0}
LINE = """
mesh: {kind: box, lower: [0], upper: [2], cells: [100]}
flow: {kind: fokker-planck, epsilon: 1}
initial: {kind: uniform}
times: {end: 1, step: 0.01, save: 1}
"""


def case(text=LINE, **changes):
    return Case.parse(text).replace({key.replace("__", "."): value for key, value in changes.items()})


def run(text=LINE, **changes):
    return case(text, **changes).run()


def flow(**keys):
    return {"kind": "fokker-planck", **keys}


def orders(errors):
    return np.log2(np.array(errors[:-1]) / errors[1:])


MESHES = {
    "box": {"kind": "box", "lower": [0], "upper": [2], "cells": [100]},
    "graded": {"kind": "graded", "lower": [0, 0], "upper": [2, 1], "cells": [30, 7], "ratio": [5, 3]},
    "voronoi": {"kind": "voronoi", "lower": [0, 0], "upper": [2, 1], "cells": [10, 6], "seed": 1},
}


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("convention", POWERS)
def test_each_convention_keeps_its_own_equilibrium(convention, temperature, mesh):
    equilibrium = f"{D}**(-{POWERS[convention]})" + (f"*exp(-{V}/{temperature})" if temperature else "")
    diffusion = {"value": D, "convention": convention, "temperature": temperature}
    ds = run(
        mesh=MESHES[mesh],
        flow=flow(diffusion=diffusion, **({"potential": V} if temperature else {})),
        initial={"kind": "expression", "density": equilibrium, "sampling": "centre"},
        times={"end": 100, "step": 0.1, "save": 100},
    )
    start, end = ds.rho.values
    assert abs(end / start - 1).max() <= 1e-13
    if temperature and convention == "isothermal":
        assert ds.dissipation[0] == pytest.approx(0, abs=1e-13)


def test_the_energy_of_a_temperature_falls_to_its_minimum():
    """T int rho log rho + int U rho, U = V + c T log D: -T log of the integral of exp(-U/T)."""
    diffusion = {"value": D, "convention": "stratonovich", "temperature": 0.5}
    ds = run(flow=flow(diffusion=diffusion, potential=V), times={"end": 20, "step": 0.05, "save": 0.5})
    energy, x = ds.energy.values, ds.x.values
    weight = (1 + x**2 * (1 + np.sin(5 * x))) ** -0.5 * np.exp(-(x**4 - x) / 0.5)
    assert (np.diff(energy) < 1e-14).all()
    assert energy[-1] == pytest.approx(-0.5 * np.log(0.02 * weight.sum()), abs=1e-13)


def test_a_number_is_epsilon_to_the_last_bit():
    expected = run(flow=flow(epsilon=0.5, potential=V)).rho.values
    for keys in ({"diffusion": {"value": 0.5}}, {"epsilon": 0.25, "diffusion": {"value": 2}}):
        np.testing.assert_array_equal(run(flow=flow(potential=V, **keys)).rho.values, expected)
    varying = run(flow=flow(epsilon=0.25, diffusion={"value": "2 + 0*x", "convention": "ito"}, potential=V))
    np.testing.assert_allclose(varying.rho.values, expected, rtol=1e-12)


def test_the_stationary_state_of_cox_ingersoll_ross_is_a_gamma_density():
    """dX = k (theta - X) dt + s sqrt(X) dW."""
    s, k, theta, errors = 0.5, 1.0, 1.0, []
    for n in (50, 100, 200):
        ds = run(
            f"mesh: {{kind: box, lower: [0], upper: [6], cells: [{n}]}}\n"
            "flow: {kind: stationary, diffusion: {value: 0.5*s**2*x, convention: ito}, velocity: [k*(theta - x)]}\n"
            f"parameters: {{s: {s}, k: {k}, theta: {theta}}}\n"
        )
        edges = np.linspace(0, 6, n + 1)
        exact = np.diff(gamma.cdf(edges, 2 * k * theta / s**2, scale=s**2 / (2 * k)))
        errors.append(abs(ds.rho.values[-1] * 6 / n - exact).sum())
    assert (abs(orders(errors) - 2) < 0.15).all(), errors


def wright_fisher(n, a, b):
    return run(
        f"mesh: {{kind: box, lower: [0], upper: [1], cells: [{n}]}}\n"
        "flow: {kind: spectrum, diffusion: {value: x*(1 - x)/2, convention: ito}, velocity: [(a*(1 - x) - b*x)/2]}\n"
        f"parameters: {{a: {a}, b: {b}}}\n"
    )


@pytest.mark.parametrize(("a", "b", "order"), [(3.0, 4.0, 2.0), (1.5, 2.5, 1.5)])
def test_wright_fisher_has_a_beta_density_and_its_rates(a, b, order):
    """dX = (a (1 - X) - b X)/2 dt + sqrt(X (1 - X)) dW: Beta(a, b), rates n (n - 1 + a + b)/2."""
    densities, rates = [], []
    for n in (50, 100, 200):
        ds = wright_fisher(n, a, b)
        exact = np.diff(beta.cdf(np.linspace(0, 1, n + 1), a, b))
        densities.append(abs(ds.rho.values[-1] / n - exact).sum())
        rates.append(max(abs(ds.attrs[f"rate_{k}"] / (k * (k - 1 + a + b) / 2) - 1) for k in range(1, 5)))
    assert (orders(densities) > order - 0.15).all(), densities
    assert (orders(rates) > order - 0.15).all(), rates
    assert rates[-1] < 4e-3


def test_absorbed_wright_fisher_is_a_martingale():
    """Fixation: what is absorbed at 1, and the mean of the rest, stay at the start, to round-off in every step."""
    ds = run(
        mesh={"kind": "box", "lower": [0], "upper": [1], "cells": [60]},
        flow=flow(diffusion={"value": "x*(1 - x)/2", "convention": "ito"}),
        initial={"kind": "gaussian", "mean": [0.3], "covariance": [[0.003]]},
        walls={"left": "absorbing", "right": "absorbing"},
        times={"end": 4, "step": 0.02, "save": 0.5},
    )
    held = ds["mean"].values[:, 0] * ds.mass.values + ds.absorbed_right.values
    assert abs(held / held[0] - 1).max() <= 1e-13
    assert float(ds.survival[-1]) < 0.05


def test_mean_and_variance_of_geometric_brownian_motion():
    """dX = m X dt + s X dW."""
    m, s, start, variance, end, errors = 0.3, 0.25, 1.0, 0.01, 1.0, []
    for n in (100, 200, 400):
        ds = run(
            mesh={"kind": "box", "lower": [0], "upper": [8], "cells": [n]},
            flow=flow(
                diffusion={"value": "0.5*s**2*x**2", "convention": "ito"},
                velocity=["m*x"],
                stepper={"kind": "chebyshev"},
            ),
            parameters={"m": m, "s": s},
            initial={"kind": "gaussian", "mean": [start], "covariance": [[variance]]},
            times={"end": end, "step": end, "save": end},
        )
        mean, moment = ds["mean"].values[:, 0], ds.covariance.values[:, 0, 0] + ds["mean"].values[:, 0] ** 2
        exact = mean[0] * np.exp(m * end), moment[0] * np.exp((2 * m + s**2) * end)
        errors.append(max(abs(mean[1] / exact[0] - 1), abs(moment[1] / exact[1] - 1)))
    assert (abs(orders(errors) - 2) < 0.15).all(), errors


@pytest.mark.parametrize(("convention", "drift"), [("ito", 0.0), ("stratonovich", 0.5), ("isothermal", 1.0)])
def test_the_mean_moves_by_the_drift_of_the_convention(convention, drift):
    """D = d x^2, d = 0.03: d<x>/dt = 2 d x (0, 1/2, 1), each with the order of the space."""
    errors = []
    for n in (100, 200, 400):
        ds = run(
            mesh={"kind": "box", "lower": [0], "upper": [8], "cells": [n]},
            flow=flow(diffusion={"value": "0.03*x**2", "convention": convention}, stepper={"kind": "chebyshev"}),
            initial={"kind": "gaussian", "mean": [1], "covariance": [[0.01]]},
            times={"end": 1, "step": 1, "save": 1},
        )
        mean = ds["mean"].values[:, 0]
        errors.append(abs(mean[1] / (mean[0] * np.exp(0.06 * drift)) - 1))
    assert errors[-1] < 1e-4
    assert max(errors) < 1e-11 or (orders(errors) > 1.85).all(), errors


KINETIC = """
mesh: {kind: box, lower: [-6, -6], upper: [6, 6], cells: [N, N]}
flow:
  kind: fokker-planck
  diffusion: {value: [0, g*T]}
  velocity: [y, -w**2*x - g*y]
  stepper: {kind: STEPPER}
parameters: {g: 0.8, T: 0.7, w: 1.3}
initial: {kind: gaussian, mean: [1, 0], covariance: [[0.3, 0], [0, 0.3]]}
times: {end: 1, step: 0.02, save: 0.5}
"""


@pytest.mark.parametrize(("stepper", "order"), [("chebyshev", 1), ("muscl", 2)])
def test_moments_of_the_kinetic_oscillator(stepper, order):
    """dx = v dt, dv = (-w^2 x - g v) dt + sqrt(2 g T) dW, v on the y axis: mean and covariance of their linear ODE."""
    errors, generator = [], np.array([[0, 1], [-(1.3**2), -0.8]])
    for n in (40, 80, 160):
        ds = run(KINETIC.replace("N", str(n)).replace("STEPPER", stepper))
        step, mean, covariance = expm(generator), ds["mean"].values, ds.covariance.values
        limit = np.diag([0.7 / 1.3**2, 0.7])
        exact = step @ (covariance[0] - limit) @ step.T + limit
        errors.append(abs(covariance[-1] - exact).max())
        assert float(ds.minimum.min()) > (0 if stepper == "muscl" else -1e-12)
        assert mean[-1] == pytest.approx(step @ mean[0], abs=0.02 * (40 / n) ** 2)
    assert (abs(orders(errors) - order) < 0.25).all(), errors


def test_diffusion_that_depends_on_time_is_a_change_of_time():
    """D(x, t) = (1 + t) g(x) at t is g(x) at t + t^2/2."""
    steady = {"value": D, "convention": "stratonovich"}
    moving = {"value": f"(1 + t)*{D}", "convention": "stratonovich"}
    initial = {"kind": "gaussian", "mean": [1.0], "covariance": [[0.02]]}
    exact = run(
        flow=flow(diffusion=steady, stepper={"kind": "chebyshev"}),
        initial=initial,
        times={"end": 0.105, "step": 0.105, "save": 0.105},
    ).rho.values[-1]
    errors = []
    for step in (0.01, 0.005, 0.0025):
        ds = run(
            flow=flow(diffusion=moving, stepper={"kind": "tr-bdf2"}),
            initial=initial,
            times={"end": 0.1, "step": step, "save": 0.1},
        )
        errors.append(abs(ds.rho.values[-1] - exact).mean())
    assert (abs(orders(errors) - 2) < 0.2).all(), errors


def test_no_diffusion_along_an_axis_is_transport_along_it():
    """Rows of a grid on which the y axis rests are lines without diffusion."""
    text = """
mesh: {kind: box, lower: [0, 0], upper: [2, 1], cells: [40, 3]}
flow: {kind: fokker-planck, velocity: [x*(2 - x), 0]}
initial: {kind: expression, density: 1 + x}
times: {end: 0.2, step: 0.01, save: 0.2}
"""
    plain, split = (
        run(text.replace("velocity", f"{keys}, velocity")).rho.values
        for keys in ("epsilon: 0", "diffusion: {value: [0, x**2], convention: isothermal}")
    )
    np.testing.assert_allclose(split, plain, rtol=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 9.0])
def test_diffusion_that_jumps_is_met_by_its_resistance(ratio):
    """Isothermal, two cells, the jump at their face: the conductance is that of both halves in series."""
    mesh = Graded((0.0,), (3.0,), (2,), (ratio,))
    edges = mesh.build().edges
    assert edges is not None
    first, second = np.diff(edges[0])
    ds = run(
        mesh={"kind": "graded", "lower": [0], "upper": [3], "cells": [2], "ratio": [ratio]},
        flow=flow(
            diffusion={"value": f"where(x < {first}, 1, 100)", "convention": "isothermal"},
            stepper={"kind": "chebyshev"},
        ),
        initial={"kind": "expression", "density": f"where(x < {first}, 1, 0)"},
        times={"end": 0.1, "step": 0.1, "save": 0.1},
    )
    rate = (1 / first + 1 / second) / (0.5 * first / 1 + 0.5 * second / 100)
    assert ds.rho.values[-1][1] == pytest.approx((1 - np.exp(-rate * 0.1)) / 3, rel=1e-10)


@pytest.mark.parametrize("stepper", ["implicit-euler", "crank-nicolson", "tr-bdf2", "split-euler", "muscl"])
def test_every_stepper_keeps_the_mass_and_agrees(stepper):
    text = """
mesh: {kind: box, lower: [0, 0], upper: [2, 1], cells: [24, 12]}
flow: {kind: fokker-planck, diffusion: {value: [0.1 + x**2, "0.2*(1 + y)"], convention: ito}, velocity: [-x, y]}
initial: {kind: gaussian, mean: [1, 0.5], covariance: [[0.1, 0], [0, 0.05]], truncate: 0.5}
times: {end: 0.1, step: 0.001, save: 0.1}
"""
    exact = run(text, flow__stepper={"kind": "uniformisation"}).rho.values[-1]
    ds = run(text, flow__stepper={"kind": stepper})
    assert ds.attrs["mass_drift"] <= 1e-14
    assert float(ds.minimum[-1]) > 0
    assert abs(ds.rho.values[-1] - exact).sum() < 0.01 * exact.sum()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"diffusion": {"value": "x"}}, "convention is missing, and D depends on position: it is one of ito"),
        ({"diffusion": {"value": "x - 1", "convention": "ito"}}, "x - 1 is -0.99 at x = 0.01, t = 0; it has to be at"),
        ({"diffusion": {"value": "1/(x - 0.01)", "convention": "ito"}}, "it has to be finite everywhere"),
        ({"diffusion": {"value": [1, 2]}}, "diffusion has 2 entries in 1 dimensions; give one per axis"),
        ({"diffusion": {"value": [[1, 2]]}}, "a tensor has as many rows as each row has entries"),
        ({}, "epsilon is missing; give it, or diffusion:"),
        (
            {"diffusion": {"value": "where(x < 1, 0, 1)", "convention": "ito"}, "flux": {"kind": "square-root"}},
            "flux square-root needs a diffusion > 0 on every face, and it is 0 on 50 at t = 0",
        ),
    ],
)
def test_a_diffusion_without_a_meaning_is_refused(keys, message):
    with pytest.raises(CaseError, match=message.replace("(", r"\(")):
        case(flow=flow(**keys)).prepare()


def test_a_diffusion_that_becomes_negative_ends_the_run():
    with pytest.raises(NumericsError, match=r"diffusion 0.5 - t is .* it has to be at least 0"):
        run(flow=flow(diffusion={"value": "0.5 - t"}))


def test_directions_need_faces_along_the_axes():
    with pytest.raises(CaseError, match="diffusion differs between directions"):
        run(mesh=MESHES["voronoi"], flow=flow(diffusion={"value": [1, 2]}))
    run(mesh=MESHES["voronoi"], flow=flow(diffusion={"value": ["1 + x", "1 + x"], "convention": "ito"}))


def test_closed_forms_know_what_they_were_derived_for():
    diffusion = {"value": D, "convention": "isothermal", "temperature": 0.5}
    ds = run(flow=flow(diffusion=diffusion, potential=V), initial={"kind": "gibbs"}, exact={"kind": "gibbs"})
    assert float(ds.error_l1[-1]) <= 1e-13
    for wrong in ({**diffusion, "convention": "ito"}, {"value": D, "convention": "isothermal"}):
        with pytest.raises(
            CaseError, match="gibbs needs a diffusion that is a number, or isothermal with a temperature"
        ):
            case(flow=flow(diffusion=wrong, potential=V), exact={"kind": "gibbs"}).prepare()
    with pytest.raises(CaseError, match="this case has a mobility"):
        case(
            flow=flow(diffusion={**diffusion, "value": 2}),
            exact={"kind": "heat-box", "modes": [1]},
            initial={"kind": "exact"},
        ).prepare()


def test_a_key_at_the_wrong_place_is_told_where_it_belongs():
    with pytest.raises(CaseError, match=r"did you mean flow\.diffusion\?"):
        Case.parse(LINE + "diffusion: {value: 1}\n")


@pytest.mark.parametrize(("value", "fault"), [(-1.0, "is negative"), (1e308, r"is above 1e\+100")])
def test_a_number_is_neither_negative_nor_so_large_that_rates_overflow(value, fault):
    with pytest.raises(CaseError, match=fault):
        run(flow=flow(diffusion={"value": value}))


def test_openings_see_the_diffusion_of_their_cells():
    """D = T = 1/2: the same as epsilon 1/2, at absorbing and partly absorbing walls and cells."""
    walls = {"left": "absorbing", "right": {"kind": "partial", "rate": 0.3}}
    expected, found = (
        run(flow=flow(potential=V, **keys), walls=walls, absorbing={"where": "x < 0.2"})
        for keys in (
            {"epsilon": 0.5},
            {"diffusion": {"value": "0.5 + 0*x", "convention": "isothermal", "temperature": 0.5}},
        )
    )
    assert float(expected.survival[-1]) < 0.5
    for name in ("survival", "absorbed_right", "outflow_where"):
        np.testing.assert_allclose(found[name].values, expected[name].values, rtol=1e-12)


def test_a_table_gives_the_diffusion(tmp_path):
    x = np.linspace(0, 2, 2001)
    np.save(tmp_path / "d.npy", 1 + x**2)
    table = {"kind": "table", "file": str(tmp_path / "d.npy"), "lower": [0], "upper": [2], "method": "cubic"}
    found, expected = (
        run(flow=flow(diffusion={"value": value, "convention": "ito"})).rho.values for value in (table, "1 + x**2")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(CaseError, match="convention is missing"):
        case(flow=flow(diffusion={"value": table}))


def test_exact_steppers_need_a_steady_diffusion():
    with pytest.raises(CaseError, match="requires a steady diffusion and this one depends on t"):
        case(flow=flow(diffusion={"value": "1 + t"}, stepper={"kind": "chebyshev"})).prepare()


def test_the_gap_of_an_overdamped_kinetic_oscillator():
    """The means decay at the rate (g - sqrt(g^2 - 4 w^2))/2."""
    ds = run(
        KINETIC.replace("N", "60").replace("STEPPER", "chebyshev"),
        parameters={"g": 3.0, "T": 0.7, "w": 1.0},
        times={"end": 6, "step": 1, "save": 1},
    )
    position = ds["mean"].values[:, 0]
    assert np.log(position[-2] / position[-1]) == pytest.approx((3 - np.sqrt(5)) / 2, rel=5e-3)


def test_the_equilibrium_of_the_kinetic_oscillator_has_the_order_of_its_transport():
    """Transport at constant velocity has no diffusion that an equilibrium could be fitted to: first order."""
    errors = []
    for n in (40, 80, 160):
        ds = run(
            f"mesh: {{kind: box, lower: [-6, -6], upper: [6, 6], cells: [{n}, {n}]}}\n"
            "flow: {kind: stationary, diffusion: {value: [0, 0.56]}, velocity: [y, -1.69*x - 0.8*y]}\n"
        )
        x, y = np.meshgrid(ds.x.values, ds.y.values)
        exact = np.exp(-(0.5 * y**2 + 0.845 * x**2) / 0.7)
        errors.append(abs(ds.rho.values[-1] * (12 / n) ** 2 - exact / exact.sum()).sum())
    assert (abs(orders(errors) - 1) < 0.15).all(), errors


@pytest.mark.parametrize("convention", [None, "ito", "isothermal"])
def test_where_diffusion_is_uniform_the_convention_does_not_matter(convention):
    diffusion = {"value": "2 + t", "convention": convention, "temperature": 0.5}
    ds = run(flow=flow(diffusion=diffusion, potential=V), initial={"kind": "gibbs"}, exact={"kind": "gibbs"})
    assert float(ds.error_l1[-1]) <= 1e-13


def test_upwinding_along_axes_without_diffusion_is_told():
    """Transport along x by its velocity y; the variance of x at equilibrium grows by what upwinding adds."""
    text = """
mesh: {kind: box, lower: [-4, -4], upper: [4, 4], cells: [20, 20]}
flow: {kind: fokker-planck, diffusion: {value: [0, 0.5]}, velocity: [y, -x - y]}
initial: {kind: gaussian, mean: [1, 0], covariance: [[0.5, 0], [0, 0.5]]}
times: {end: 8, step: 0.05}
"""
    run = Case.parse(text).run()
    added = float(run.covariance[-1, 0, 0]) - 0.5
    assert added > 0.1
    assert "faces without diffusion are taken upwind, of first order" in run.attrs["remarks"]
    assert "use stepper muscl or smaller cells" in run.attrs["remarks"]
    assert run.attrs["numerical_diffusion"] == pytest.approx(0.2 * 0.6 / 0.5, rel=0.5)  # h <|y|>/2 over D
    sharp = Case.parse(text, overrides={"flow.stepper": "{kind: muscl}"}).run()
    assert "upwind" not in sharp.attrs["remarks"]
    assert abs(float(sharp.covariance[-1, 0, 0]) - 0.5) < 0.3 * added


@pytest.mark.parametrize(("a", "told"), [(3, "does not point out"), (0.4, "points out with up to 0.3 ")])
def test_walls_are_judged_by_the_drift_of_the_flux(a, told):
    """Wright-Fisher: (v - D').n is (1 - a)/2 at the left wall and (1 - b)/2 at the right one, b = 4."""
    changes = {"mesh": {"kind": "box", "lower": [0], "upper": [1], "cells": [50]}}
    changes["flow"] = flow(velocity=[f"({a}*(1 - x) - 4*x)/2"], diffusion={"value": "x*(1 - x)/2", "convention": "ito"})
    assert told in case(**changes).check()["walls"]


def test_a_temperature_pushes_by_its_mobility():
    """-(D/T) grad V.n with D = 2, T = 1/2 and V = -x at x = 2 is 4; a list of equal entries is the same."""
    for value, axes in ((2, 1), ([2, 2], 2), ([[2, 0.5], [0.5, 2]], 2)):
        mesh = {"kind": "box", "lower": [0] * axes, "upper": [2] * axes, "cells": [20] * axes}
        told = case(mesh=mesh, flow=flow(diffusion={"value": value, "temperature": 0.5}, potential="-x")).check()
        assert "points out with up to 4 at" in told["walls"]


def test_a_tilt_counts_once_beside_a_temperature():
    """v = -1 at D = 1/2 has the equilibrium exp(-2 x), whatever the temperature of a potential that there is not."""
    for temperature in ({}, {"temperature": 0.5}, {"temperature": 2}):
        keys = {"kind": "stationary", "diffusion": {"value": 0.5, **temperature}, "tilt": [-1]}
        mesh = {"kind": "box", "lower": [0], "upper": [2], "cells": [40]}
        ds = run(mesh=mesh, flow=keys, initial=None, times=None)
        assert np.diff(np.log(ds.rho[0])) == pytest.approx(-0.1, abs=1e-12)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "stationary"}, "no mass leaves any of 40 sets of cells: 39 faces have no diffusion"),
        ({"kind": "spectrum", "potential": "x**2/2"}, "modes are not known there: 39 faces have no diffusion"),
        ({"kind": "first-passage", "target": {"wall": "right"}}, "passage time is infinite.*: 39 faces have no diffu"),
        ({"kind": "committor", "from": {"wall": "left"}, "to": {"wall": "right"}}, "39 faces have no diffusion"),
    ],
)
def test_where_nothing_diffuses_flows_without_time_say_so(keys, message):
    mesh = {"kind": "box", "lower": [-2], "upper": [2], "cells": [40]}
    diffusion = {"value": "0*x", "convention": "isothermal"}
    with pytest.raises((CaseError, NumericsError), match=message) as told:
        case(mesh=mesh, flow={**keys, "diffusion": diffusion}, initial=None, times=None).run()
    assert "steep" not in str(told.value)
