"""What the methods keep to round-off, whatever the data: mass, sign, equilibrium, energy."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.fluxes import Flux
from fvflow.steppers import LinearStepper
from tests.scenes import final, ou, spike

WELL = {1: "(x**2 - 1)**2", 2: "(x**2 - 1)**2 + 0.5*y**2 + 0.3*x*y"}
STEPPERS = [kind().kind for kind in get_args(LinearStepper)]


def well(dimension: int, cells: int, **changes) -> Case:
    """A double well at its Gibbs state."""
    case = ou(dimension, cells, flow__potential=WELL[dimension], flow__epsilon=0.3, exact={"kind": "gibbs"})
    for path, value in {"mesh__lower": [-2] * dimension, "mesh__upper": [2] * dimension, **changes}.items():
        case = case.replace({path.replace("__", "."): value})
    return case.replace({"initial": {"kind": "gibbs"}})


def jko(case: Case) -> Case:
    """The same physics as a gradient flow."""
    flow = case.flow
    energy = [{"kind": "entropy", "epsilon": flow.epsilon}, {"kind": "potential", "potential": flow.potential}]
    return case.replace({"flow": {"kind": "gradient-flow", "energy": energy}})


def test_mass_over_ten_thousand_steps():
    figures = final(ou(1, 200, times={"end": 100, "step": 0.01}))[2]
    assert figures["steps"] == 10_000
    assert figures["mass_drift"] <= 1e-14
    assert figures["minimum"] >= 0


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("flux", [kind().kind for kind in get_args(Flux)])
def test_mass_of_every_method(stepper, dimension, flux):
    case = ou(dimension, {1: 60, 2: 20, 3: 18}[dimension], times={"end": 2, "step": 0.05})
    case = case.replace({"flow.flux": {"kind": "scharfetter-gummel" if stepper == "muscl" else flux}})
    case = case.replace({"flow.stepper": {"kind": stepper}})
    if (stepper, flux) == ("uniformisation", "centred") and dimension > 1:
        with pytest.raises(CaseError, match="requires a monotone flux"):
            case.prepare()
        return
    figures = final(case)[2]
    assert figures["mass_drift"] <= 2e-15
    assert figures["mass_correction"] <= 1e-12, "the fluxes, not the correction, keep the mass"


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("step", [1e-3, 1.0, 1e4])
def test_gibbs_is_stationary(dimension, step):
    case = well(dimension, 100 if dimension == 1 else 40, times={"end": 1000 * step, "step": step})
    prepared, last, figures = final(case)
    assert figures["steps"] == 1000
    assert np.abs(last.density - prepared.initial.density).max() <= 1e-13 * prepared.initial.density.max()
    assert figures["mass_drift"] <= 1e-14


def test_gibbs_is_not_stationary_for_upwind():
    """The test above can fail."""
    case = well(1, 100, times={"end": 10, "step": 0.1}, flow__flux={"kind": "upwind"})
    prepared, last, _ = final(case)
    assert np.abs(last.density - prepared.initial.density).max() > 1e-3


@pytest.mark.parametrize("flow", ["implicit-euler", "ljko"])
@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("epsilon", [1.0, 0.02])
@pytest.mark.parametrize("step", [1e-4, 1e-2, 1.0, 100.0])
def test_spikes_stay_positive(flow, dimension, epsilon, step):
    cells = {1: 100, 2: 24}[dimension]
    case = spike(ou(dimension, cells, flow__epsilon=epsilon, times={"end": 5 * step, "step": step}))
    figures = final(jko(case) if flow == "ljko" else case)[2]
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 2e-15
    if flow == "ljko":
        assert figures["energy_increase"] <= 1e-14


def test_spikes_stay_positive_in_three_dimensions():
    case = spike(ou(3, 20, times={"end": 1, "step": 0.2}))
    figures = final(case)[2]
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 2e-15


def test_second_order_methods_go_negative_and_say_so():
    """From a spike at dt eps/h^2 = 16 both do; at the step they promise, neither does."""
    for stepper in ("crank-nicolson", "tr-bdf2"):
        case = spike(ou(1, 100, flow__stepper={"kind": stepper}, times={"end": 0.6, "step": 0.2}))
        prepared, _, figures = final(case)
        assert figures["minimum"] < -1e-3
        assert "not guaranteed" in prepared.positivity()
        safe = case.flow.positive_step(prepared.problem)
        prepared, _, figures = final(case.replace({"times": {"end": 20 * safe, "step": 0.999 * safe}}))
        assert figures["minimum"] >= 0
        assert prepared.positivity().startswith("guaranteed")


def test_a_moving_drift_is_promised_nothing_from_its_start():
    potential = "0.5*x**2*(0.01 + 400*t)"
    case = ou(1, 100, flow__stepper={"kind": "crank-nicolson"}, flow__potential=potential, exact=None)
    assert case.prepare().positivity().startswith("not guaranteed: the drift moves")


def test_centred_fluxes_promise_nothing():
    case = ou(1, 20, flow__flux={"kind": "centred"}, flow__epsilon=0.01)
    assert "is, or becomes, above 2" in case.prepare().positivity()
    moving = ou(1, 400, flow__flux={"kind": "centred"}, flow__potential="0.5*x**2*(1 + 99*t)", exact=None)
    assert "is, or becomes, above 2" in moving.prepare().positivity()
    fine = ou(1, 400, flow__flux={"kind": "centred"})
    assert fine.prepare().positivity() == "unconditional"


drifts = st.sampled_from(["0.5*x**2", "x**4/8 - x**2", "3*sin(2*x)", "abs(x)*2", "-x**2/4"])


@settings(max_examples=60, deadline=None)
@given(
    potential=drifts,
    epsilon=st.floats(1e-3, 10),
    step=st.floats(1e-6, 1e3),
    cells=st.integers(2, 60),
    values=st.lists(st.floats(0, 1), min_size=60, max_size=60),
    flux=st.sampled_from(["upwind", "scharfetter-gummel"]),
)
def test_implicit_euler_keeps_mass_sign_and_energy(potential, epsilon, step, cells, values, flux):
    """From any non-negative density, with any step; and the free energy falls with Scharfetter-Gummel."""
    from fvflow.problems import State

    case = ou(1, cells, flow__potential=potential, flow__epsilon=epsilon, flow__flux={"kind": flux})
    prepared = case.replace({"initial": {"kind": "uniform"}}).replace({"exact": None}).prepare()
    density = np.array(values[:cells])
    density[0] += 1e-3
    state = State.initial(prepared.mesh, density)
    after = case.flow.stepper.start(prepared.problem)(state, step)
    assert after.density.min() >= 0
    assert abs(prepared.mesh.volume @ after.density / state.mass - 1) <= 1e-14
    if flux == "scharfetter-gummel":
        energy = prepared.problem.energy(0.0)
        before = energy.value(density)
        assert energy.value(after.density) <= before + 1e-12 * (1 + abs(before))


@settings(max_examples=25, deadline=None)
@given(
    potential=drifts,
    epsilon=st.floats(0.05, 5),
    step=st.floats(1e-4, 10),
    values=st.lists(st.floats(0, 1), min_size=24, max_size=24),
)
def test_ljko_keeps_mass_sign_and_energy(potential, epsilon, step, values):
    """From any non-negative density, empty cells included; energy plus transport cost falls, not energy alone."""
    from fvflow.problems import State

    case = jko(ou(1, 24, flow__potential=potential, flow__epsilon=epsilon))
    prepared = case.replace({"initial": {"kind": "uniform"}}).replace({"exact": None}).prepare()
    density = np.array(values)
    density[5] += 1e-2
    mesh, energy = prepared.mesh, prepared.problem.energy(0.0)
    state = State.initial(mesh, density)
    after = case.flow.stepper.start(prepared.problem)(state, step)
    assert after.density.min() >= 0
    assert abs(mesh.volume @ after.density / state.mass - 1) <= 1e-14
    before = energy.value(density)
    cost = 0.0
    if after.halvings == 0:
        drop = after.potential[mesh.owner] - after.potential[mesh.neighbour]
        upstream = after.density[np.where(drop > 0, mesh.owner, mesh.neighbour)]
        cost = 0.5 * step * (mesh.transmissibility * upstream) @ drop**2
    assert energy.value(after.density) + cost <= before + 1e-8 * (1 + abs(before))
    assert energy.value(after.density) <= before + 1e-13 * (1 + abs(before))


def test_ljko_solves_its_optimality_conditions():
    """Continuity exactly; Hamilton-Jacobi to the Newton tolerance (notes, (141)-(144))."""
    case = jko(ou(2, 24, times={"end": 0.1, "step": 0.1}))
    prepared, last, _ = final(case.replace({"flow.stepper": {"kind": "ljko", "mobility": "upwind"}}))
    mesh, tau = prepared.mesh, 0.1
    drop = last.potential[mesh.owner] - last.potential[mesh.neighbour]
    source = np.where(drop > 0, mesh.owner, mesh.neighbour)
    kinetic = np.bincount(source, 0.5 * tau * mesh.transmissibility * drop**2, mesh.cells) / mesh.volume
    off = last.potential + kinetic - prepared.problem.total.first(last.density)
    assert np.abs(off[last.density > 1e-10]).max() < 1e-6
    flux = tau * mesh.transmissibility * last.density[source] * drop
    moved = np.bincount(mesh.owner, flux, mesh.cells) - np.bincount(mesh.neighbour, flux, mesh.cells)
    continuity = mesh.volume * (last.density - prepared.initial.density) + moved
    assert np.abs(continuity).sum() < 1e-13


def test_mass_on_any_subset_changes_by_what_crosses_its_boundary():
    """d/dt mass(V) + flux out of V = 0 for random sets of cells; notes, equations (8)-(12)."""
    case = ou(2, 16, times={"end": 0.05, "step": 0.05})
    prepared, last, _ = final(case)
    mesh, before = prepared.mesh, prepared.initial.density
    flux = prepared.problem.flux(last.density, 0.05)
    random = np.random.default_rng(4)
    for _ in range(10):
        inside = random.random(mesh.cells) < 0.5
        change = mesh.volume[inside] @ (last.density - before)[inside]
        crossing = inside[mesh.owner].astype(int) - inside[mesh.neighbour]
        assert abs(change + 0.05 * crossing @ flux) < 1e-14


def test_a_steady_drift_is_factorised_once_and_a_moving_one_when_it_moves(monkeypatch):
    from fvflow.linalg import Tridiagonal

    count = []
    prepare = Tridiagonal.prepare
    monkeypatch.setattr(Tridiagonal, "prepare", lambda self, matrix: count.append(1) or prepare(self, matrix))
    final(ou(1, 50, times={"end": 1, "step": 0.1}))
    assert len(count) == 1
    count.clear()
    final(ou(1, 50, flow__potential="0.5*(x - min(t, 0.45))**2", exact=None, times={"end": 0.7, "step": 0.1}))
    assert len(count) == 5, "at 0.1, 0.2, 0.3, 0.4, and once more at 0.5, from where the trap rests"


def test_a_trap_at_rest_is_not_factorised_again():
    case = ou(1, 50, flow__potential="0.5*(x - max(t - 2, 0))**2", times={"end": 1, "step": 0.1})
    same = ou(1, 50, times={"end": 1, "step": 0.1})
    np.testing.assert_allclose(final(case)[1].density, final(same)[1].density, rtol=1e-13)
