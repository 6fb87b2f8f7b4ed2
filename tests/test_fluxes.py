from typing import get_args

import numpy as np
import pytest

from fvflow.errors import CaseError
from fvflow.fluxes import Flux, ScharfetterGummel, SquareRoot, bernoulli
from tests.contracts import check_flux
from tests.scenes import final, ou


@pytest.mark.parametrize("flux", [kind() for kind in get_args(Flux)], ids=lambda flux: flux.kind)
def test_flux_keeps_the_contract(flux):
    check_flux(flux)


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
