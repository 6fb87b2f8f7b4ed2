"""The measures of how well two-point fluxes fit a mesh, on boxes, where they are known."""

import numpy as np
import pytest

from fvflow.mesh import Admissibility, Box


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_the_measures_of_a_box_do_not_depend_on_the_unit_of_length(unit, ratio):
    """Cells h by ratio h, whose size is their area to the power 1/2: sides and distances over it."""
    mesh = Box((0.0, 0.0), (6 * unit, 6 * ratio * unit), (6, 6)).build()
    found = Admissibility(mesh)
    across = mesh.normal[:, 0] > 0.5  # their side is the longer one, their distance the shorter one
    size = np.sqrt(ratio)
    np.testing.assert_allclose(found.relative_area, np.where(across, ratio, 1.0) / size, rtol=1e-12)
    np.testing.assert_allclose(found.relative_distance, np.where(across, 1.0, ratio) / size, rtol=1e-12)
    np.testing.assert_allclose(found.angle, 0.0, atol=1e-7)


def test_smallness_in_space_is_one_for_cubes():
    mesh = Box((0.0,) * 3, (1e-3, 2e-3, 3e-3), (2, 4, 6)).build()
    np.testing.assert_allclose(Admissibility(mesh).relative_area, 1.0, rtol=1e-12)
