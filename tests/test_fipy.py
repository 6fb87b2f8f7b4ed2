"""FiPy as oracle: the same linear system has to give the same density."""

import numpy as np
import pytest

from tests.scenes import final, ou


@pytest.mark.parametrize(("dimension", "cells"), [(1, 80), (2, 24)])
@pytest.mark.filterwarnings("ignore")
def test_same_system_same_density(dimension, cells, monkeypatch):
    monkeypatch.setenv("FIPY_SOLVERS", "scipy")
    import fipy

    steps, step = 10, 0.03
    case = ou(dimension, cells, times={"end": steps * step, "step": step})
    case = case.replace({"mesh.kind": "fipy"})
    if dimension == 2:  # a drift that is no gradient
        case = case.replace({"flow.potential": None}).replace({"flow.velocity": ["-x - 2*y", "2*x - y"]})
    prepared, last, _ = final(case)

    sizes = {f"n{axis}": cells for axis in "xy"[:dimension]} | {f"d{axis}": 10 / cells for axis in "xy"[:dimension]}
    grid = (fipy.Grid1D, fipy.Grid2D)[dimension - 1](**sizes)
    grid = grid + [[-5.0]] * dimension
    centre = np.asarray(grid.faceCenters)
    drift = -centre if dimension == 1 else np.stack([-centre[0] - 2 * centre[1], 2 * centre[0] - centre[1]])
    rho = fipy.CellVariable(mesh=grid, value=prepared.initial.density, hasOld=True)
    velocity = fipy.FaceVariable(mesh=grid, rank=1, value=drift)
    equation = fipy.TransientTerm() + fipy.ExponentialConvectionTerm(coeff=velocity) == fipy.DiffusionTerm(coeff=0.8)
    for _ in range(steps):
        rho.updateOld()
        equation.solve(var=rho, dt=step, solver=fipy.LinearLUSolver(tolerance=1e-15, iterations=20))
    assert np.abs(rho.value - last.density).max() <= 1e-10
    assert np.abs(last.density - prepared.initial.density).max() > 1e-2, "nothing moved"
