"""What the flow `fokker-planck` says of its scheme."""

import pytest

from tests.scenes import ou


@pytest.mark.parametrize(("dimension", "cells"), [(1, 50), (1, 100), (2, 20)])
def test_numerical_diffusion_of_upwinding_is_half_the_speed_times_the_distance(dimension, cells):
    """First-order upwinding of a velocity v solves d_t rho + v rho_x = (|v| h/2) rho_xx to second order."""
    flow = {"kind": "fokker-planck", "epsilon": 0, "velocity": ["3"] + ["-1"] * (dimension - 1)}
    case = ou(dimension, cells, flow=flow | {"flux": {"kind": "upwind"}}, exact=None)
    found = case.prepare().problem.numerical_diffusion()
    assert found == pytest.approx(3 * (10 / cells) / 2, rel=1e-12)
    assert f"{found:.3g}" in case.check()["numerical diffusion"]


def test_no_numerical_diffusion_is_reported_where_epsilon_is_positive():
    case = ou(1, 50)
    assert case.prepare().problem.numerical_diffusion() is None
    assert "numerical diffusion" not in case.check()
