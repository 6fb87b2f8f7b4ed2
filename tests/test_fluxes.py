from typing import get_args

import numpy as np
import pytest

from fvflow.fluxes import Flux, ScharfetterGummel, bernoulli
from tests.contracts import check_flux


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


def test_scharfetter_gummel_without_diffusion_is_upwind():
    w = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(ScharfetterGummel().weight(w, 0.0), [2.0, 0.0, 0.0])
