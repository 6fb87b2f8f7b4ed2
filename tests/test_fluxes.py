from typing import get_args

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.fields import Gaussian
from fvflow.flows import FokkerPlanckFlow
from fvflow.fluxes import Centred, Flux, FluxKind, ScharfetterGummel, SquareRoot, Upwind, bernoulli
from fvflow.mesh import Box
from fvflow.steppers import ImplicitEuler
from fvflow.times import Times
from tests.contracts import check_flux
from tests.scenes import final, ou


@pytest.mark.parametrize("flux", [kind() for kind in get_args(Flux)], ids=lambda flux: flux.kind)
def test_flux_keeps_the_contract(flux):
    check_flux(flux)


class Blended(FluxKind):
    """Halfway between upwind and centred, a flux of a user's own."""

    kind = "blended"

    def weight(self, w, eps):
        return eps - 0.25 * w + 0.5 * np.maximum(-w, 0.0)


def test_a_flux_of_ones_own_runs_through_a_case():
    """It lies between the two, cell by cell to first order, and keeps the mass."""
    results = {}
    for flux in (Blended(), Upwind(), Centred()):
        flow = FokkerPlanckFlow(0.5, "0.5*x**2", flux=flux, stepper=ImplicitEuler())
        case = Case(Box((-4.0,), (4.0,), (80,)), flow, Gaussian((1.0,), ((0.3,),)), Times(0.2, 0.05))
        results[flux.kind] = case.run()
    mine = results["blended"]
    between = 0.5 * (results["upwind"].rho + results["centred"].rho)
    np.testing.assert_allclose(mine.rho, between, atol=1e-3)
    assert abs(mine.rho - results["upwind"].rho).max() > 5e-3
    np.testing.assert_allclose(mine.mass, 1.0, atol=1e-3)
    assert abs(mine.mass - mine.mass[0]).max() <= 1e-14


def test_bernoulli_against_its_series_and_limits():
    from mpmath import expm1, mp, mpf

    mp.dps = 40
    points = [s * 10.0**e for e in range(-18, 3) for s in (-1, 1, 2.3)]
    exact = [float(mpf(p) / expm1(mpf(p))) for p in points]
    np.testing.assert_allclose(bernoulli(np.array(points)), exact, rtol=4e-16 * 8)


def test_scharfetter_gummel_balances_gibbs():
    w = np.linspace(-30, 30, 101)
    flux = ScharfetterGummel()
    np.testing.assert_allclose(flux.weight(-w, 1.0), flux.weight(w, 1.0) * np.exp(w), rtol=1e-13)


def test_square_root_is_refused_where_it_is_no_approximation():
    with pytest.raises(CaseError, match=r"Peclet number .* of 41 \(allowed: 40\).* use a finer mesh or flux scharf"):
        SquareRoot().weight(np.array([1.0, -41.0]), 1.0)
    with pytest.raises(CaseError, match="flux square-root needs epsilon > 0"):
        ou(1, 20, flow__flux={"kind": "square-root"}, flow__epsilon=0)


def test_a_drift_that_comes_to_be_too_steep_is_told_with_its_time():
    changes = {"flow__flux": {"kind": "square-root"}, "flow__potential": "0.5*x**2*(1 + 400*t)", "exact": None}
    with pytest.raises(CaseError, match=r"Peclet number .* \(step \d+, from t = 0\.\d+ to 0\.\d+\)"):
        final(ou(1, 40, flow__epsilon=0.5, times={"end": 1, "step": 0.01}, **changes))


def test_square_root_has_less_of_an_error():
    """A third of Scharfetter-Gummel's from a narrow bump in a tilted quadratic potential; exact in time."""
    changes = {"flow__potential": "1.625*x**2 + 1.299*x*y + 0.875*y**2", "flow__epsilon": 0.5}
    changes |= {"times": {"end": 0.5, "step": 0.5}, "flow__stepper": {"kind": "chebyshev"}}
    errors = {}
    for kind in ("scharfetter-gummel", "square-root"):
        case = ou(2, 64, flow__flux={"kind": kind}, **changes)
        bump = {"kind": "gaussian", "mean": [1.0, 0.5], "covariance": [[0.15, 0], [0, 0.15]], "sampling": "centre"}
        case = case.replace({"initial": bump})
        errors[kind] = [final(case.replace({"mesh.cells": [n, n]}))[2]["error_l1"] for n in (64, 128)]
    assert np.log2(errors["square-root"][0] / errors["square-root"][1]) == pytest.approx(2.0, abs=0.1)
    assert errors["square-root"][1] <= 0.4 * errors["scharfetter-gummel"][1]


def test_scharfetter_gummel_without_diffusion_is_upwind():
    w = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(ScharfetterGummel().weight(w, 0.0), [2.0, 0.0, 0.0])
