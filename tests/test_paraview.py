import numpy as np
import pytest

from tests.check_vtk import frames
from tests.scenes import ou


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("precision", ["double", "single"])
def test_vtk_reads_cells_times_and_integrals(dimension, precision, tmp_path):
    case = ou(dimension, 7, times={"end": 0.3, "step": 0.05, "save": 0.1}, output={"precision": precision})
    case = case.replace({"mesh.kind": "graded", "mesh.ratio": [3.0] * dimension})
    case.write(tmp_path / "a result & more.nc")
    expected = case.run()
    mesh = case.mesh.build()
    read = frames(tmp_path / "a result & more.xmf2")
    assert [time for time, _, _ in read] == pytest.approx(list(expected.time.values), abs=1e-15)
    for index, (_, values, measure) in enumerate(read):
        np.testing.assert_array_equal(values, expected.rho[index].values.ravel())
        np.testing.assert_allclose(measure, mesh.volume, rtol=1e-6)  # VTK's points are single precision inside
        assert measure @ values == pytest.approx(1.0, abs=1e-6)
