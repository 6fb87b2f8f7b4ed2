"""Every file in cases/ runs, keeps its checks, and can be re-run from its result."""

from pathlib import Path

import numpy as np
import pytest

import fvflow
from fvflow.case import Case

FILES = sorted(Path("cases").glob("*.yaml"))
WANTED = """
ou-1d ou-2d-rotating ou-3d heat-box-2d continuity-rotation-2d double-well-1d moving-trap-1d ou-1d-jko fast-diffusion-1d
fokker-planck-jko-2d porous-medium-barenblatt-2d porous-medium-box-vacuum published-fokker-planck two-wells-2d-jko
aggregation-diffusion-1d transport-gaussians-2d transport-translation-2d transport-mixture-1d transport-split-2d
transport-3d barycentre-shapes hamilton-jacobi-1d geometry-ou-curve muscl-rotation stationary-rotation
spectrum-double-well distance-images
kramers-escape kramers-sweep channel-counter-flow committor-mueller-brown quasi-stationary-wells
ring-ratchet
disc-ou channel-obstacle-advection voronoi-two-wells porous-medium-disc tet-heat-ball l-shape-heat
kinetic-harmonic geometric-brownian wright-fisher anisotropic-diffusion
first-passage-drift absorbing-target-2d
flow-map-rotation flow-map-ou ring-of-gaussians-reverse
bridge-ring
jko-maps
"""


def test_the_cases_are_there():
    assert {file.stem for file in FILES} >= set(WANTED.split())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_case_runs_and_keeps_its_checks(file, tmp_path):
    case = Case.read(file)
    assert case.title
    assert case.exact is not None or case.checks != fvflow.Checks()
    figures = case.write(tmp_path / "r.nc")
    assert case.checks.missed(figures) == []
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert Case.parse(ds.attrs["resolved_case"]) == Case.parse(ds.attrs["case"], str(file)) == case
        assert ds.sizes["time"] == case.schedule.saves + 1
        total = ds.mass + sum(ds[name] for name in ds if str(name).startswith("absorbed_"))
        np.testing.assert_allclose(total, total[0], rtol=1e-14)
