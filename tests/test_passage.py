"""First passage, committors and quasi-stationary states: closed forms, quadrature, exact fractions, time stepping."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.integrate import simpson

import fvflow
from fvflow.case import Case, json_schema
from fvflow.errors import CaseError, NumericsError
from fvflow.flows import passage
from fvflow.flows.committor import _coming_out
from fvflow.linalg import FaceMatrix, divergence
from fvflow.linalg.markov import absorbing as kernels
from fvflow.linalg.markov import iterative_chain
from fvflow.linalg.markov.absorbing import AbsorbingChain
from fvflow.linalg.markov.iterative_chain import IterativeChain
from fvflow.linalg.markov.quasi_stationary import quasi_stationary
from fvflow.linalg.markov.transition_paths import transition_paths
from tests.contracts import assert_order
from tests.scenes import final
from tests.test_stationary import random_chain

WELLS = "(x**2 - 1)**2/4"
ENDS = [{"wall": "left"}, {"wall": "right"}]


def line(cells, lower, upper, kind="first-passage", epsilon=0.7, rest=None, **flow) -> Case:
    mesh = {"kind": "box", "lower": [lower], "upper": [upper], "cells": [cells]}
    flow = {"kind": kind, "epsilon": epsilon, **{key.rstrip("_"): value for key, value in flow.items()}}
    return Case.parse(json.dumps({"mesh": mesh, "flow": flow, **(rest or {})}))


def plane(cells, kind="first-passage", epsilon=0.5, rest=None, **flow) -> Case:
    mesh = {"kind": "box", "lower": [-2, -2], "upper": [2, 2], "cells": [cells, cells]}
    flow = {"kind": kind, "epsilon": epsilon, **{key.rstrip("_"): value for key, value in flow.items()}}
    return Case.parse(json.dumps({"mesh": mesh, "flow": flow, **(rest or {})}))


# exit from an interval


def test_the_mean_time_to_leave_an_interval():
    """x (L - x)/(2 eps), and at the centres of equal cells h^2/(8 eps) more, to round-off."""
    ds = line(40, 0.0, 2.0, target=ENDS).run()
    x, h = ds.x.values, 0.05
    np.testing.assert_allclose(ds.mean_passage_time[0], x * (2 - x) / 1.4 + h * h / 5.6, rtol=1e-12)
    assert float(ds.mean_first_passage_time) == pytest.approx(4 / (12 * 0.7) + h * h / 6 / 0.7, rel=1e-12)
    assert float(ds.residual) <= 1e-14


def test_its_variance_is_of_second_order():
    """E T^2 = (x^4 - 2 L x^3 + L^3 x)/(12 eps^2) from every point, and from all of them together."""
    errors, means = [], []
    for cells in (20, 40, 80):
        ds = line(cells, 0.0, 2.0, target=ENDS, moments=2).run()
        x = ds.x.values
        exact = (x**4 - 4 * x**3 + 8 * x) / (12 * 0.49) - (x * (2 - x) / 1.4) ** 2
        errors.append(float(abs(ds.variance_passage_time.values[0] - exact).max()))
        moment = 2**4 / (60 * 0.49)
        means.append(abs(float(ds.variance_first_passage_time) - moment + (4 / (12 * 0.7)) ** 2))
    assert_order([1, 0.5, 0.25], errors, 2.0, 0.15)
    assert_order([1, 0.5, 0.25], means, 2.0, 0.15)


def test_a_graded_mesh_is_of_second_order():
    errors = []
    for cells in (20, 40, 80):
        changes = {"mesh.kind": "graded", "mesh.ratio": [4]}
        ds = line(8, 0.0, 1.0, target=ENDS).replace({**changes, "mesh.cells": [cells]}).run()
        x = ds.x.values
        errors.append(float(abs(ds.mean_passage_time.values[0] - x * (1 - x) / 1.4).max()))
    assert_order([1, 0.5, 0.25], errors, 2.0, 0.2)


@pytest.mark.parametrize("speed", [-3.0, 1e-9, 1.3, 40.0])
def test_where_a_drift_leads(speed):
    """(1 - exp(-v x/eps))/(1 - exp(-v L/eps)), to round-off with Scharfetter-Gummel; the two ends add up to 1."""
    ds = line(40, 0.0, 2.0, target=ENDS, velocity=[speed]).run()
    right, left = ds.splitting_right.values[0], ds.splitting_left.values[0]
    exact = np.expm1(-speed * ds.x.values / 0.7) / math.expm1(-speed * 2 / 0.7)
    np.testing.assert_allclose(right, exact, rtol=1e-12)
    np.testing.assert_allclose(left + right, 1.0, rtol=1e-14)


def test_a_partly_absorbing_wall_takes_longer():
    """(L^2 - x^2)/(2 eps) + L/kappa from a closed wall at 0, again with h^2/(8 eps) more."""
    rest = {"walls": {"right": {"kind": "partial", "rate": 0.3}}}
    for target in ([], {"wall": "right"}):
        ds = line(50, 0.0, 2.0, target=target, rest=rest).run()
        exact = (4 - ds.x.values**2) / 1.4 + 2 / 0.3 + 0.04**2 / 5.6
        np.testing.assert_allclose(ds.mean_passage_time[0], exact, rtol=1e-12)


def test_the_walls_of_the_case_end_the_passage_too():
    """The mean time is that to any of them; a target absorbs whatever walls say."""
    both = line(40, 0.0, 2.0, target=ENDS).run()
    one = line(40, 0.0, 2.0, target={"wall": "right"}, rest={"walls": {"left": "absorbing", "right": "no-flux"}}).run()
    for name in ("mean_passage_time", "splitting_left", "splitting_right"):
        np.testing.assert_array_equal(one[name], both[name])


def test_absorbing_cells_are_reached_at_their_faces():
    target, absorbing = [{"where": "x < 1"}, {"wall": "right"}], {"absorbing": {"where": "x < 1"}}
    ds = line(60, 0.0, 3.0, target=target, moments=2, rest=absorbing).run()
    x = ds.x.values - 1
    inside = x > 0
    exact = x * (2 - x) / 1.4 + 0.05**2 / 5.6
    np.testing.assert_allclose(ds.mean_passage_time.values[0, inside], exact[inside], rtol=1e-12)
    np.testing.assert_allclose(ds.splitting_where.values[0, inside], 1 - x[inside] / 2, rtol=1e-12)
    assert (ds.mean_passage_time.values[0, ~inside] == 0).all()
    assert (ds.splitting_where.values[0, ~inside] == 1).all()
    assert (ds.splitting_right.values[0, ~inside] == 0).all()
    mean, variance = ds.mean_passage_time.values[0], ds.variance_passage_time.values[0]
    whole = (variance + mean**2).mean() - mean.mean() ** 2  # a third of the uniform density is there at once
    assert float(ds.variance_first_passage_time) == pytest.approx(whole, rel=1e-12)


# rare passages


def potential(x):
    return (x * x - 1) ** 2 / 4


def quadrature(epsilon, points=200_001):
    """Mean time from -1 to 1 with a closed wall at -2, and the committor between them at those points y."""
    y = np.linspace(-2, 1, points)
    half = 0.5 * (y[1] - y[0])
    nodes, weights = np.polynomial.legendre.leggauss(4)
    middle = 0.5 * (y[1:] + y[:-1])
    cells = sum(w * np.exp(-potential(middle + half * n) / epsilon) for n, w in zip(nodes, weights, strict=True)) * half
    inner = np.concatenate([[0.0], np.cumsum(cells)])
    hill = np.exp((potential(y) - 0.25) / epsilon)
    there = y >= -1 - 1e-12
    time = simpson((hill * inner)[there], x=y[there]) / epsilon * math.exp(0.25 / epsilon)
    climbed = np.concatenate([[0.0], np.cumsum(0.5 * (hill[there][1:] + hill[there][:-1]))])
    return time, y[there], climbed / climbed[-1]


@pytest.mark.parametrize("epsilon", [0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03, 0.02, 0.01])
def test_passage_over_a_hill(epsilon, capsys):
    """Mean time and committor against quadrature at 400 cells; rates there and back; Kramers' ratio is printed."""
    bottom, top = {"where": "x <= -1"}, {"where": "x >= 1"}
    rest = {"initial": {"kind": "spike", "at": [-1]}}
    ds = line(400, -2.0, 2.0, epsilon=epsilon, potential=WELLS, target=top, rest=rest).run()
    time, y, climbed = quadrature(epsilon)
    found = float(ds.mean_first_passage_time)
    assert found == pytest.approx(time, rel=1e-3)
    flow = {"kind": "committor", "epsilon": epsilon, "potential": WELLS, "from": bottom, "to": top}
    between = line(400, -2.0, 2.0).replace({"flow": flow}).run()
    x = between.x.values
    seen = abs(x) < 1
    np.testing.assert_allclose(between.committor.values[0, seen], np.interp(x[seen], y, climbed), atol=1e-3)
    np.testing.assert_allclose(between.backward_committor, 1 - between.committor, atol=1e-14)
    assert float(between.rate_defect) <= 1e-13
    assert float(between.forward_rate_constant) == pytest.approx(1 / time, rel=1e-3)
    assert float(between.forward_rate_constant) == pytest.approx(float(between.backward_rate_constant), rel=1e-12)
    assert float(between.rate) == pytest.approx(float(between.forward_rate_constant) / 2, rel=1e-12)
    kramers = math.sqrt(2 * 1) / (2 * math.pi) * math.exp(-0.25 / epsilon)
    with capsys.disabled():
        print(f"\nepsilon {epsilon}: time {found:.4e}, off {found / time - 1:.1e}, x Kramers {found * kramers:.4f}")
    assert 1 < found * kramers < 1 + 3 * epsilon


def test_rate_constants_are_inverse_mean_times():
    """On a line, a transition starts and ends at one face: the time from there is 1/constant, up a slope and down."""
    bottom, top = {"where": "x <= -1"}, {"where": "x >= 1"}
    given = {"epsilon": 0.05, "potential": f"{WELLS} + x/20"}
    between = line(400, -2.0, 2.0, "committor", from_=bottom, to=top, **given).run()
    for name, start, end in (("forward", -1, top), ("backward", 1, bottom)):
        rest = {"initial": {"kind": "spike", "at": [start]}}
        time = float(line(400, -2.0, 2.0, target=end, rest=rest, **given).run().mean_first_passage_time)
        assert float(between[f"{name}_rate_constant"]) == pytest.approx(1 / time, rel=1e-4)
    assert float(between.forward_rate_constant) < 0.2 * float(between.backward_rate_constant)


def multiprecision_time(matrix, digits=60):
    """Mean times of a chain of cells closed at its left end and open at its right one, in many digits."""
    with mpmath.workdps(digits):
        down, up = ([mpmath.mpf(float(rate)) for rate in part] for part in (matrix.down, matrix.up))
        leak, volume = mpmath.mpf(float(matrix.leak[-1])), [mpmath.mpf(float(part)) for part in matrix.volume]
        step, steps = mpmath.mpf(0), []  # step_j = tau_j - tau_(j+1)
        for j, rate in enumerate([*down, leak]):
            step = (volume[j] + (up[j - 1] * step if j else 0)) / rate
            steps.append(step)
        return np.array([float(sum(steps[j:])) for j in range(len(steps))])


def test_a_barrier_that_is_crossed_once_in_1e100():
    case = line(400, -2.0, 2.0, epsilon=0.00108, potential=WELLS, target={"where": "x >= 1"}, moments=2)
    prepared, state, figures = final(case)
    tau = state.fields["mean_passage_time"][:300]
    whole = prepared.problem.matrix(0.0, 1.0)
    leak = np.zeros(300)
    leak[-1] = whole.leak[299]
    chain = FaceMatrix(
        whole.volume[:300], whole.owner[:299], whole.neighbour[:299], whole.down[:299], whole.up[:299], leak=leak
    )
    assert tau[100] > 1e100
    np.testing.assert_allclose(tau, multiprecision_time(chain), rtol=1e-13)
    variance = state.fields["variance_passage_time"]
    np.testing.assert_allclose(variance[:150], tau[:150] ** 2, rtol=1e-12)
    assert figures["residual"] <= 1e-14


def test_a_variance_beyond_doubles_is_refused():
    case = line(400, -2.0, 2.0, epsilon=0.0007, potential=WELLS, target={"where": "x >= 1"})
    assert np.isfinite(case.run().mean_passage_time).all()
    with pytest.raises(NumericsError, match="use moments: 1"):
        case.replace({"flow.moments": 2}).run()


# exact arithmetic


def solved(matrix, right):
    """The solution of a linear system in fractions."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for j in range(len(rows)):
        pivot = next(i for i in range(j, len(rows)) if rows[i][j] != 0)
        rows[j], rows[pivot] = rows[pivot], rows[j]
        for i in range(len(rows)):
            if i != j and rows[i][j] != 0:
                factor = rows[i][j] / rows[j][j]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[j], strict=True)]
    return [row[-1] / row[j] for j, row in enumerate(rows)]


def exact_generator(matrix):
    """A in fractions, A rho being the net outflow of each cell through its faces and its leak."""
    count = len(matrix.volume)
    rows = [[Fraction(0)] * count for _ in range(count)]
    for k, i, down, up in zip(matrix.owner, matrix.neighbour, matrix.down, matrix.up, strict=True):
        rows[k][k] += Fraction(down)
        rows[i][k] -= Fraction(down)
        rows[i][i] += Fraction(up)
        rows[k][i] -= Fraction(up)
    for k, leak in enumerate([0.0] * count if matrix.leak is None else matrix.leak):
        rows[k][k] += Fraction(leak)
    return rows


def fractions_of(values):
    return [Fraction(float(value)) for value in values]


def transposed(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def assert_equal(found, exact, tolerance=1e-13):
    worst = max(abs(Fraction(float(a)) / b - 1) if b else abs(a) for a, b in zip(found, exact, strict=True))
    assert worst <= tolerance


@pytest.mark.parametrize("seed", range(4))
def test_random_chains_in_fractions(seed):
    """Rates over ten decades and leaks down to 1e-80: every entry to 1e-14, backward and forward, and the variance."""
    random = np.random.default_rng(seed)
    leak = np.where(random.random(18) < 0.2, 10.0 ** random.uniform(-60, 0, 18), 0.0)
    leak[3] = 1e-80
    chain = AbsorbingChain.of(replace(random_chain(18, seed), leak=leak))
    rows, volume = exact_generator(chain.matrix), fractions_of(chain.matrix.volume)
    mean = solved(transposed(rows), volume)
    assert_equal(chain.backward(chain.matrix.volume), mean, 1e-14)
    assert_equal(chain.forward(chain.matrix.volume), solved(rows, volume), 1e-14)
    moment = solved(transposed(rows), [2 * v * t for v, t in zip(volume, mean, strict=True)])
    variance = [m - t * t for m, t in zip(moment, mean, strict=True)]
    assert_equal(chain.variance(chain.backward(chain.matrix.volume)), variance, 1e-13)


def test_compiled_kernels_equal_their_python():
    chain = AbsorbingChain.of(replace(random_chain(25, 3), leak=np.linspace(0, 1, 25)))
    factors, right = chain.factors, np.linspace(1, 2, 25)
    parts = (factors.pivot, factors.start, factors.below, factors.lower, factors.column, factors.reach, factors.upper)
    for kernel in (kernels.solve, kernels.transposed_solve):
        np.testing.assert_allclose(kernel(*parts, right), kernel.py_func(*parts, right), rtol=1e-14)


def one_way(count, leak, back):
    """A line of cells that are passed at the rate 1 in one direction, and at `back` in the other."""
    every = np.arange(count - 1, dtype=np.int32)
    leaks = np.zeros(count)
    leaks[-1] = leak
    return FaceMatrix(np.ones(count), every, every + 1, np.ones(count - 1), np.full(count - 1, back), leak=leaks)


def test_the_variance_of_a_time_that_hardly_varies():
    """Erlang's law: mean n/r and variance n/r^2, so that the square of the mean is 5000 times larger."""
    matrix = one_way(5000, 1.0, 0.0)
    chain = AbsorbingChain.of(replace(matrix, volume=np.full(5000, 1 / 0.7)))
    mean, count = chain.backward(chain.matrix.volume), np.arange(5000, 0, -1)
    np.testing.assert_allclose(mean, count / 0.7, rtol=1e-13)
    np.testing.assert_allclose(chain.variance(mean), count / 0.49, rtol=1e-12)


def test_the_variance_of_a_time_that_is_exponential():
    """Where the mean time is the same everywhere to round-off, its differences say nothing."""
    chain = AbsorbingChain.of(one_way(200, 1e-60, 1.0))
    mean = chain.backward(np.ones(200))
    np.testing.assert_allclose(chain.variance(mean), mean**2, rtol=1e-12)


def test_transition_paths_in_fractions():
    """On a random chain out of balance: cells 0 and 1 are A, 2 is B."""
    whole = random_chain(14, 5)
    kept = ~((np.minimum(whole.owner, whole.neighbour) < 2) & (np.maximum(whole.owner, whole.neighbour) == 2))
    parts = (part[kept] for part in (whole.owner, whole.neighbour, whole.down, whole.up))
    whole = FaceMatrix(whole.volume, *parts)  # A and B do not touch
    rows = exact_generator(whole)
    steady = solved([*rows[:-1], [Fraction(1)] * 14], [Fraction(0)] * 13 + [Fraction(1)])
    rate = [[-rows[i][j] if i != j else Fraction(0) for j in range(14)] for i in range(14)]  # from j to i
    into = [sum(np.array(rate[i][3:], dtype=object) for i in cells) for cells in ((0, 1), (2,))]
    out_of = [[sum(rate[j][i] * steady[i] for i in cells) for j in range(3, 14)] for cells in ((0, 1), (2,))]
    inside = (whole.owner >= 3) & (whole.neighbour >= 3)
    matrix = FaceMatrix(
        whole.volume[3:],
        whole.owner[inside] - 3,
        whole.neighbour[inside] - 3,
        whole.down[inside],
        whole.up[inside],
    )
    pi = np.array([float(value) for value in steady[3:]])
    given = [tuple(np.array(part, float) for part in pair) for pair in (into, out_of)]
    chain = AbsorbingChain.of(replace(matrix, leak=sum(given[0])))
    found = transition_paths(chain, pi, *given, balanced=False)
    leaving = [a + b for a, b in zip(*into, strict=True)]
    inner = exact_generator(matrix)
    forward = solved(
        transposed([[v + (leaving[i] if i == j else 0) for j, v in enumerate(r)] for i, r in enumerate(inner)]),
        list(into[1]),
    )
    assert_equal(found.to_b, forward)
    back = [[rate[i][j] * steady[j] / steady[i] for i in range(3, 14)] for j in range(3, 14)]  # to j, from i
    system = [[-back[j][i] for j in range(11)] for i in range(11)]
    for i in range(11):
        system[i][i] = sum(back[j][i] for j in range(11) if j != i) + (out_of[0][i] + out_of[1][i]) / steady[3 + i]
    backward = solved(system, [value / steady[3 + i] for i, value in enumerate(out_of[0])])
    assert_equal(found.from_a, backward)
    exact = sum(q * p * s for q, p, s in zip(backward, steady[3:], into[1], strict=True))
    assert found.rate == pytest.approx(float(exact), rel=1e-13)
    assert found.rate_defect <= 1e-13
    assert np.abs(found.to_b + found.from_a - 1).max() > 1e-2
    net = divergence(matrix, found.flux)
    sources = given[1][0] * found.to_b - found.from_a * given[0][1] * pi
    np.testing.assert_allclose(net, sources, atol=1e-13 * found.rate)


# stepping in time, in two dimensions and with winds


def test_the_mean_time_is_the_integral_of_the_survival():
    """sum_n S(t_n) dt of implicit Euler is the mean time exactly: with a wind, a trap, and walls of both kinds.

    Up to any time, with the mean time that those that are left then still take.
    """
    rest = {
        "initial": {"kind": "spike", "at": [0.4, -0.3]},
        "walls": {"left": {"kind": "partial", "rate": 0.5}, "top": "absorbing"},
        "absorbing": {"where": "(x - 1)**2 + y**2 < 0.2"},
    }
    drift = {"potential": "x**2/4 + x*y/5", "stream": "x**2 + y**2/2"}
    direct = plane(16, rest=rest, **drift).run()
    times = {"end": 5.0, "step": 0.25, "save": 0.25}
    marched = plane(16, "fokker-planck", rest={**rest, "times": times}, **drift).run()
    volume = direct.cell_area.values

    def still(name):
        """The mean of a field over those that are left at the end."""
        return float((direct[name].values[0] * volume * marched.rho.values[-1]).sum())

    assert 1e-3 < float(marched.survival[-1]) < 0.5
    integral = 0.25 * float(marched.survival[1:].sum()) + still("mean_passage_time")
    assert float(direct.mean_first_passage_time) == pytest.approx(integral, rel=1e-12)
    assert direct.absorbed_where.item() > 0.01, "a part of the spike is in the trap at once"
    for name in ("left", "top", "where"):
        whole = float((direct[f"splitting_{name}"].values * volume * direct.rho.values).sum())
        whole += direct[f"absorbed_{name}"].item()
        assert whole == pytest.approx(float(marched[f"absorbed_{name}"][-1]) + still(f"splitting_{name}"), rel=1e-12)


A, B = {"where": "(x + 1)**2 + y**2 < 0.16"}, {"where": "(x - 1)**2 + y**2 < 0.16"}


@pytest.mark.parametrize("wind", [None, "2*exp(-x**2 - y**2)", "x**2 + 0.5*y**2"])
def test_transitions_in_a_wind(wind):
    """Both committors against dense algebra; the current has no sources between the sets; all four rates agree."""
    flow = {"potential": "(x**2 - 1)**2 + y**2", "from_": A, "to": B}
    prepared, state, figures = final(plane(20, "committor", **flow, **({"stream": wind} if wind else {})))
    mesh, problem = prepared.mesh, prepared.problem
    openings = problem.ends.openings
    left = openings.closed < 0
    matrix = problem.ends.matrix(0.0, 1.0)
    dense = (matrix.sparse().toarray() - np.diag(mesh.volume))[np.ix_(left, left)]
    into = [
        np.bincount(openings.cell, problem.ends.leaks(0.0) * (openings.group == g), mesh.cells)[left] for g in (0, 1)
    ]
    forward = np.linalg.solve(dense.T, into[1])
    np.testing.assert_allclose(state.fields["committor"][left], forward, rtol=1e-11)
    assert set(state.fields["committor"][~left]) == {0.0, 1.0}
    assert figures["rate_defect"] <= 1e-12
    current = divergence(mesh, state.fields["reactive_flux"])
    assert abs(current[left]).max() <= 1e-13 * figures["rate"] + 1e-16
    closed = openings.closed
    assert current[closed == 0].sum() == pytest.approx(figures["rate"], rel=1e-12)
    assert current[closed == 1].sum() == pytest.approx(-figures["rate"], rel=1e-12)
    off = np.abs(state.fields["committor"] + state.fields["backward_committor"] - 1)[left].max()
    assert off <= 1e-13 if wind is None else off > 1e-3
    coming = np.bincount(openings.cell, _coming_out(problem, state.density, False) * (openings.group == 0), mesh.cells)
    from_a = (
        dense @ (state.density * state.fields["backward_committor"])[left]
    )  # what came from A last is supplied by A
    np.testing.assert_allclose(from_a, coming[left], atol=1e-13 * abs(dense).max() * state.density.max())


def test_the_wind_turns_transitions_back_to_front():
    """With the wind reversed, the committor is the other one: q+ of the one is 1 - q- of the other."""
    pair = []
    for sign in (1, -1):
        # a rotation along level sets keeps the steady state, so that the reversed process has the reversed wind
        flow = {"stream": f"{sign}*2*exp(-(x**2 + y**2))", "potential": "x**2 + y**2", "from_": A, "to": B}
        errors = [final(plane(cells, "committor", **flow))[1].fields for cells in (20, 40)]
        pair.append(errors)
    off = [np.abs(a["committor"] - 1 + b["backward_committor"]).max() for a, b in zip(*pair, strict=True)]
    assert off[0] < 0.02
    assert off[1] < 0.4 * off[0]


def test_densities_below_all_doubles():
    """At the corners exp(-V/eps) underflows: for a gradient of no matter, in a wind unknown."""
    case = plane(24, "committor", epsilon=0.012, potential="(x**2 - 1)**2 + y**2", from_=A, to=B)
    ds = case.run()
    assert float(ds.rho.min()) == 0
    assert float(ds.rate_defect) <= 1e-13
    assert float(ds.rate) < 1e-30
    np.testing.assert_allclose(ds.committor + ds.backward_committor, 1.0, rtol=1e-14)
    with pytest.raises(NumericsError, match="below all doubles in"):
        case.replace({"flow.stream": "0.001*(x**2 + y**2)"}).run()


def test_the_rest_of_the_walls():
    others = [{"wall": name} for name in ("right", "bottom", "top")]
    for pair in (({"wall": "left"}, others, {"wall": "rest"}), (A, [*others, {"wall": "left"}], {"wall": "rest"})):
        one, other = (plane(12, "committor", from_=pair[0], to=to).run() for to in pair[1:])
        np.testing.assert_allclose(one.committor, other.committor, rtol=1e-13)
        back = plane(12, "committor", from_={"wall": "rest"}, to=pair[0]).run()
        np.testing.assert_allclose(back.committor + other.committor, 1.0, rtol=1e-13)


# other meshes

TRIANGLES = """
mesh:
  kind: gmsh
  geometry: |
    SetFactory("OpenCASCADE"); Rectangle(1) = {0, 0, 0, 2, 1}; Mesh.MeshSizeMax = 0.2; Mesh.Algorithm = 6;
flow: {kind: committor, epsilon: 0.3, from: {wall: left}, to: {wall: right}}
"""


@pytest.mark.parametrize("control_volumes", ["cells", "nodes"])
def test_triangles_between_two_walls(control_volumes):
    """Without a drift the committor is x/L at every centre, and the rate eps/L^2, to round-off.

    Boxes about nodes on a wall belong to it.
    """
    case = Case.parse(TRIANGLES).replace({"mesh.control_volumes": control_volumes})
    prepared, state, figures = final(case)
    x = prepared.mesh.centre[:, 0]
    np.testing.assert_allclose(state.fields["committor"], x / 2, atol=1e-13)
    assert figures["rate"] == pytest.approx(0.3 / 4, rel=1e-12)
    flow = {"kind": "first-passage", "epsilon": 0.3, "target": ENDS}
    fields = final(case.replace({"flow": flow}))[1].fields
    np.testing.assert_allclose(fields["splitting_right"], x / 2, atol=1e-13)
    np.testing.assert_allclose(fields["mean_passage_time"], x * (2 - x) / 0.6, atol=0.03)


def test_three_dimensions():
    mesh = {"kind": "box", "lower": [0, 0, 0], "upper": [1, 2, 1], "cells": [4, 20, 3]}
    flow = {"kind": "first-passage", "epsilon": 0.7, "target": [{"wall": "bottom"}, {"wall": "top"}]}
    ds = Case.parse(json.dumps({"mesh": mesh, "flow": flow})).run()
    y = ds.y.values[None, :, None]
    exact = np.broadcast_to(y * (2 - y) / 1.4 + 0.01 / 5.6, (3, 20, 4))
    np.testing.assert_allclose(ds.mean_passage_time[0], exact, rtol=1e-12)


ROOMS = """
mesh:
  kind: gmsh
  geometry: |
    SetFactory("OpenCASCADE"); Rectangle(1) = {0, 0, 0, 1, 1}; Rectangle(2) = {GAP, 0, 0, 1, 1};
    Coherence; Physical Surface("A") = {1}; Physical Surface("B") = {2}; Mesh.MeshSizeMax = 0.2; Mesh.Algorithm = 6;
flow: {kind: first-passage, epsilon: 1, target: {region: B}}
"""


def test_targets_keep_their_order():
    """The variables of a result, whatever the order of the hashes of their names in this process."""
    names = ["top", "left", "back", "right", "front", "bottom"]
    targets = [{"wall": name} for name in names]
    case = Case.parse("""
mesh: {kind: box, lower: [0, 0, 0], upper: [1, 1, 1], cells: [3, 3, 3]}
flow: {kind: first-passage, epsilon: 1, target: {wall: left}}
""").replace({"flow.target": targets})
    assert [name for name in case.run().data_vars if "splitting_" in name] == [f"splitting_{name}" for name in names]


def test_a_region_is_a_target():
    """Two rooms: from the one into the other it takes (1 - x^2)/(2 eps) from the far wall."""
    ds = Case.parse(ROOMS.replace("GAP", "1")).run()
    x = ds.mesh_face_x.values
    exact = np.where(x < 1, (1 - x**2) / 2, 0)
    np.testing.assert_allclose(ds.mean_passage_time[0], exact, atol=0.01)
    np.testing.assert_allclose(ds.splitting_B, 1.0, rtol=1e-14)


def test_a_room_without_a_door_is_named():
    with pytest.raises(
        CaseError, match=r"cells never reach B, so that .* infinite, as the one at x = .*, in A: no face"
    ):
        Case.parse(ROOMS.replace("GAP", "1.5")).prepare()


# the quasi-stationary state


def test_the_quasi_stationary_state_of_an_interval():
    """A sine, at the rate eps (pi/L)^2, to second order; on equal cells the rate of the discrete sine to round-off."""
    errors = []
    for cells in (20, 40, 80):
        ds = line(cells, 0.0, 2.0, "quasi-stationary", target=ENDS).run()
        h, rate = 2 / cells, float(ds.quasi_stationary_rate)
        errors.append(abs(rate - 0.7 * (math.pi / 2) ** 2))
        assert rate == pytest.approx(4 * 0.7 / h**2 * math.sin(math.pi / (2 * cells)) ** 2, rel=1e-12)
        sine = np.sin(np.pi * ds.x.values / 2)
        np.testing.assert_allclose(ds.rho[0], sine / (h * sine.sum()), rtol=1e-11)
        assert float(ds.outflow_left[0] + ds.outflow_right[0]) == pytest.approx(rate, rel=1e-13)
        assert float(ds.survival[0]) == 1
    assert_order([1, 0.5, 0.25], errors, 2.0, 0.15)


@pytest.mark.parametrize("epsilon", [0.3, 0.02, 0.00108])
def test_from_the_quasi_stationary_state_the_time_is_one_over_the_rate(epsilon):
    """The mean time over the density is 1/rate to round-off, also for a rate of 1e-100; its variance is the square."""
    given = {"epsilon": epsilon, "potential": WELLS, "target": {"where": "x >= 1"}}
    state = final(line(400, -2.0, 2.0, "quasi-stationary", **given))[1]
    rate = state.figures["quasi_stationary_rate"]
    _, passage, _ = final(line(400, -2.0, 2.0, moments=2, **given))
    mass = 0.01 * state.density
    mean = passage.fields["mean_passage_time"]
    assert mass @ mean * rate == pytest.approx(1.0, rel=1e-12)
    assert mass @ (passage.fields["variance_passage_time"] + (mean - 1 / rate) ** 2) * rate**2 == pytest.approx(
        1, rel=1e-11
    )
    assert state.figures["residual"] <= 1e-14
    assert rate < {0.3: 1, 0.02: 1e-5, 0.00108: 1e-100}[epsilon]


def test_the_quasi_stationary_state_keeps_its_shape():
    """In two dimensions with a wind: a step of implicit Euler divides it by 1 + rate dt."""
    given = {"stream": "x**2 + y**2/2", "potential": "x**2/4"}
    prepared, state, figures = final(plane(20, "quasi-stationary", target=[{"wall": "left"}, B], **given))
    matrix = prepared.problem.matrix(0.0, 0.3)
    image = matrix.apply(state.density)
    expected = (1 + 0.3 * figures["quasi_stationary_rate"]) * matrix.volume * state.density
    np.testing.assert_allclose(image, expected, atol=1e-13 * expected.max())


def two_wells(ratio):
    """Two cells that leave at almost the same rate and hardly exchange anything, each with a neighbour."""
    owner, neighbour = np.array([0, 1, 2], np.int32), np.array([1, 2, 3], np.int32)
    leak = np.array([1e-3, 0.0, 0.0, 1e-3 * ratio])
    return FaceMatrix(np.ones(4), owner, neighbour, np.array([1.0, 1e-7, 1.0]), np.array([1.0, 1e-7, 1.0]), leak=leak)


@pytest.mark.parametrize("ratio", [1.001, 1.0 + 1e-5])
def test_a_second_mode_that_is_nearly_as_slow(ratio):
    matrix = two_wells(ratio)
    found = quasi_stationary(AbsorbingChain.of(matrix))
    dense = matrix.sparse().toarray() - np.eye(4)
    values, vectors = np.linalg.eig(dense)
    slowest = int(np.argmin(values.real))
    assert values[slowest] == pytest.approx(found.rate, rel=1e-12)
    np.testing.assert_allclose(found.density, vectors[:, slowest] / vectors[:, slowest].sum(), rtol=1e-8)
    assert found.iterations > 40


# cases and results


def test_the_result_holds_the_current(tmp_path):
    case = plane(12, "committor", potential="(x**2 - 1)**2 + y**2", from_=A, to=B, rest={"exact": {"kind": "gibbs"}})
    case = case.replace(
        {"checks": {"error_l1": 1e-12, "rate_defect": 1e-12, "residual": 1e-13}, "output": {"fluxes": True}}
    )
    figures = case.write(tmp_path / "r.nc")
    assert case.checks.missed(figures) == []
    assert Case.parse(case.text) == Case.parse(json.dumps(case.values)) == case
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.reactive_flux.shape == (1, 264)
        assert ds.committor.dims == ("time", "y", "x")
        assert float(ds.rate) == figures["rate"]
        assert "difference of the rates" in ds.rate_defect.long_name
        assert "survival" not in ds
    assert json.dumps(json_schema()).count("Where transitions start") == 1


def test_a_case_made_in_python():
    from fvflow.flows import CommittorFlow, Target

    flow = CommittorFlow(1.0, from_=Target(wall="left"), to=(Target(wall="right"),))
    case = Case(fvflow.Box(lower=(0.0,), upper=(1.0,), cells=(10,)), flow)
    assert float(case.run().rate) == pytest.approx(1.0, rel=1e-13)
    assert Case.parse(case.text) == case


def test_reports():
    report = line(40, 0.0, 2.0, target=ENDS).check()
    assert report["steps"] == "none, 1 frame"
    assert "subtraction-free elimination" in report["method"]
    ds = line(40, 0.0, 2.0, target=ENDS).run()
    assert ds.attrs["drawn"] == "mean_passage_time"
    assert len(fvflow.plot.figure(ds).axes) >= 1


FROM = {"kind": "committor", "epsilon": 1, "from": {"wall": "left"}, "to": {"wall": "right"}}
BAD = [
    ({"flow.target": []}, "is missing, and no wall absorbs: write target"),
    ({"flow.target": {"wall": "lefft"}}, "the mesh has no wall lefft; did you mean left"),
    ({"flow.target": {"region": "A"}}, "the mesh has no region A; it has none"),
    ({"flow.target": {"where": "x > 2"}}, "holds the centre of no cell"),
    ({"flow.target": {"where": "x >= 0"}}, "absorb in every cell of the mesh; leave some"),
    ({"flow.target": {}}, "give one of wall, region and where"),
    ({"flow.target": {"wall": "left", "where": "x > 1"}}, "give one of wall, region and where"),
    ({"flow.target": "left"}, 'expected a mapping or a list of mappings, got "left"'),
    ({"flow.target": {"where": "t > 1"}}, "unknown name t"),
    ({"flow.epsilon": 0}, "expected a number > 0, got 0"),
    ({"flow.moments": 3}, "expected a number <= 2, got 3"),
    ({"times": {"end": 1, "step": 1}}, "remove times"),
    ({"exact": {"kind": "gibbs"}}, "has no closed form; leave it out"),
    (
        {"flow.potential": "1e5*(x - 0.5)**2"},
        "20 cells never reach left, .* infinite, as the one at x = 0.025: the drift",
    ),
    ({"flow.potential": "100*x", "flow.flux": {"kind": "centred"}}, "not monotone"),
    ({"flow.target": {"where": "x < 0.2"}, "absorbing": {"where": "x < 0.1"}}, "where and where_2 overlap"),
    ({"checks": {"rate_defect": 1}}, "is for flow committor"),
    ({"flow": FROM | {"to": {"wall": "left"}}}, "from and to share wall left"),
    ({"flow": FROM | {"to": {"where": "x < 0.5"}}}, "from and to touch on 1 face,"),
    ({"flow": FROM | {"from": {"where": "x < 0.5"}, "to": {"where": "(x > 0.5)*(x < 0.7)"}}}, "touch on 1 face,"),
    ({"flow": FROM | {"from": {"where": "x < 0.5"}, "to": {"where": "x < 0.7"}}}, "where and where_2 overlap"),
    ({"flow": FROM | {"from": {"where": "x < 0.5"}, "to": {"where": "x > 0.5"}}}, "absorb in every cell"),
    ({"flow": FROM | {"from": []}}, "from and to need a target each"),
    ({"flow": {**FROM, "from": None}}, "expected a mapping or a list of mappings, got nothing"),
    ({"flow": {"kind": "committor", "epsilon": 1, "from": {"wall": "left"}}}, "to: is missing"),
    (
        {"flow": FROM, "walls": {"left": "absorbing"}},
        "is for flows fokker-planck, backward, first-passage, quasi-stationary and",
    ),
    ({"flow": {**FROM, "from_": {"wall": "left"}}}, 'unknown key; did you mean "from"'),
    ({"flow.kind": "quasi-stationary", "flow.target": {"where": "(x > 0.4)*(x < 0.6)"}}, "leaves 2 parts of the mesh"),
    ({"flow.kind": "quasi-stationary", "flow.target": []}, "is missing, and no wall absorbs"),
]


@pytest.mark.parametrize(("changes", "told"), BAD)
def test_refusals(changes, told):
    with pytest.raises(CaseError, match=told):
        line(20, 0.0, 1.0, epsilon=1.0, target={"wall": "left"}).replace(changes).prepare()


def test_rates_that_underflow_are_refused():
    for drift in ({"potential": "1e5*x"}, {"velocity": ["-1e5"]}):
        with pytest.raises(NumericsError, match="underflow"):
            line(20, 0.0, 1.0, "committor", epsilon=1.0, from_=ENDS[0], to=ENDS[1], **drift).run()


def test_a_barrier_that_is_never_crossed_is_told():
    """exp(1000) is beyond doubles, and so is the mean time until the target is reached."""
    for potential in ("1000*x", "2000*x"):
        with pytest.raises(NumericsError, match=r"mean time to reach the target is inf in doubles|underflow"):
            line(40, 0.0, 1.0, "quasi-stationary", epsilon=1.0, target={"wall": "right"}, potential=potential).run()


def test_a_committor_of_a_particle_with_inertia_is_antisymmetric():
    """Diffusion acts on the velocity alone, and q(x, v) + q(-x, -v) = 1 for targets that mirror each other."""
    ds = Case.parse("""
mesh: {kind: box, lower: [-4, -4], upper: [4, 4], cells: [20, 20]}
flow:
  kind: committor
  diffusion: {value: [0, 0.5]}
  velocity: [y, -x - y]
  from: {where: x < -1.1}
  to: {where: x > 1.1}
""").run()
    q = ds.committor.values.squeeze()
    assert abs(q + q[::-1, ::-1] - 1).max() < 1e-12
    assert ds.attrs["rate_defect"] < 1e-12


def test_nothing_is_absorbed_at_once_from_a_quasi_stationary_state():
    """Only the mass of `initial` matters there; of a passage it matters where it is."""
    case = line(40, -1, 1, "quasi-stationary", target={"where": "x > 0.5"})
    assert "absorbed at once" not in case.check()
    assert "at once" not in case.run().attrs["remarks"]
    assert "absorbed at once" in line(40, -1, 1, target={"where": "x > 0.5"}).check()


def space(cells=14, **flow):
    mesh = {"kind": "box", "lower": [-1] * 3, "upper": [1] * 3, "cells": [cells] * 3}
    given = {"epsilon": 0.5, "potential": "x*y + z**2", "velocity": ["-y", "x", "0"], "moments": 2, **flow}
    target = [{"wall": "left"}, {"where": "x > 0.5"}]
    flow = {key.rstrip("_"): value for key, value in {"kind": "first-passage", "target": target, **given}.items()}
    flow = {key: value for key, value in flow.items() if value is not None}
    return Case.parse(json.dumps({"mesh": mesh, "flow": flow}))


def test_large_meshes_in_space_are_left_to_an_iteration(monkeypatch):
    """It gives what the elimination gives, or proves that it cannot."""
    exact = space().run()
    monkeypatch.setattr(passage, "_MOST_CELLS", 1000)
    found = space().run()
    assert "BiCGStab" in space().check()["method"]
    for name in ("mean_passage_time", "variance_passage_time", "splitting_left", "splitting_where"):
        assert float(abs(found[name] - exact[name]).max()) <= 1e-9 * float(exact[name].max())
    rare = space(potential="8*((x - 0.2)**2 - 0.2)**2", velocity=["0", "0", "0"], epsilon=0.01)
    with pytest.raises(NumericsError, match=r"proves its solution to .* only"):
        rare.run()


@pytest.mark.parametrize("velocity", [["0", "0", "0"], ["-y", "x", "0"]])
def test_large_meshes_in_space_have_quasi_stationary_states_and_committors(velocity, monkeypatch):
    """As by elimination; where ends are too rare for the iteration, it says so."""
    first, second = {"where": "x < -0.5"}, {"where": "x > 0.5"}
    given = {"moments": None, "velocity": velocity}
    cases = [
        space(10, kind="quasi-stationary", target=[first, {"wall": "right"}], **given),
        space(10, kind="committor", target=None, from_=first, to=second, **given),
    ]
    exact = [case.run() for case in cases]
    monkeypatch.setattr(passage, "_MOST_CELLS", 900)
    found = [case.run() for case in cases]
    assert all("BiCGStab" in case.check()["method"] for case in cases)
    for other, ds, names in zip(exact, found, (("rho",), ("committor", "backward_committor", "rho")), strict=True):
        for name in names:
            assert float(abs(ds[name] - other[name]).max()) <= 1e-9 * float(other[name].max())
        assert float(ds.rho.min()) >= 0.0
    for name in ("quasi_stationary_rate", "residual", "rate", "forward_rate_constant", "backward_rate_constant"):
        for other, ds in zip(exact, found, strict=True):
            if name in other.attrs:
                assert ds.attrs[name] == pytest.approx(other.attrs[name], rel=1e-8, abs=1e-9)
    for case in cases:
        rare = {"flow.epsilon": 0.01, "flow.potential": "8*(x**2 - 0.3)**2", "flow.velocity": ["0", "0", "0"]}
        with pytest.raises(NumericsError, match=r"proves its solution to .* only|four ways to the rate differ"):
            case.replace(rare).run()


def test_an_iteration_that_ends_early_knows_how_far_it_is_off(monkeypatch):
    """The error of the mean time is within what is proved of it, without multigrid in any number of rounds."""
    monkeypatch.setattr(
        iterative_chain._System, "precondition", lambda chain, vector, /, *, out: np.add(vector, 0.0, out=out)
    )
    monkeypatch.setattr(iterative_chain, "_REDUCTION", 0.1)
    monkeypatch.setattr(iterative_chain, "_ACCEPTED", 1.0)
    random = np.random.default_rng(6)
    down, up = random.random((2, 120)) + 0.01
    matrix = replace(random_chain(40, 1), down=down, up=up, leak=0.01 * random.random(40))
    exact, found = AbsorbingChain.of(matrix).backward(matrix.volume), []
    for rounds in range(4, 16):
        monkeypatch.setattr(iterative_chain, "_ROUNDS", rounds)
        iterated = IterativeChain(matrix)
        found.append(iterated.accuracy)
        assert float(abs(iterated.backward(matrix.volume) / exact - 1.0).max()) <= iterated.accuracy
    assert max(found) > 1e-3
    assert min(found) < 1e-8


def test_an_iteration_knows_how_far_it_is_off():
    """Solutions of random chains in fractions: the error is within what is accepted, in every cell."""
    random = np.random.default_rng(5)
    for _ in range(5):
        down, up = random.random((2, 120)) + 0.01
        matrix = replace(random_chain(40, 1), down=down, up=up, leak=0.01 * random.random(40))
        chain, iterated = AbsorbingChain.of(matrix), IterativeChain(matrix)
        for source in (matrix.volume, random.random(40), np.zeros(40)):
            np.testing.assert_allclose(iterated.backward(source), chain.backward(source), rtol=1e-6)
