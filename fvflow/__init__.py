"""fvflow: finite volumes for Fokker-Planck equations, Wasserstein gradient flows and dynamic optimal transport.

The "notes" that docstrings cite are A. Gracyk, Foundations of continuity equations for their neural applications, 2025.
Names are imported when they are first used, so that `import fvflow` is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvflow.deferred import deferred
from fvflow.version import __version__ as __version__

if TYPE_CHECKING:
    from fvflow import geometry, plot, wasserstein
    from fvflow.case import (
        Case,
        Checks,
        Evaluation,
        Output,
        at,
        balance,
        compare_sides,
        duality,
        measure,
        push,
        residual,
        resume,
    )
    from fvflow.dataset import read, save_mesh
    from fvflow.dataset.measures import distance
    from fvflow.dataset.samples import sample
    from fvflow.errors import CaseError, FvflowError, NumericsError, OutputError
    from fvflow.mesh import Box, FiPyMesh, Gmsh, Graded, Mesh, Meshio, Radial, Ugrid, Voronoi, from_fipy
    from fvflow.studies import cite, compare, export, verify
    from fvflow.studies.score import score
    from fvflow.studies.sweeps.run_sweep import sweep

_MODULES = {
    "Case": "case",
    "Checks": "case",
    "Evaluation": "case",
    "Output": "case",
    "at": "case",
    "balance": "case",
    "duality": "case",
    "measure": "case",
    "residual": "case",
    "compare_sides": "case",
    "push": "case",
    "resume": "case",
    "compare": "studies",
    "export": "studies",
    "distance": "dataset.measures",
    "read": "dataset",
    "sample": "dataset.samples",
    "save_mesh": "dataset",
    "CaseError": "errors",
    "FvflowError": "errors",
    "NumericsError": "errors",
    "OutputError": "errors",
    "Box": "mesh",
    "FiPyMesh": "mesh",
    "Gmsh": "mesh",
    "Graded": "mesh",
    "Mesh": "mesh",
    "Meshio": "mesh",
    "Radial": "mesh",
    "Ugrid": "mesh",
    "Voronoi": "mesh",
    "from_fipy": "mesh",
    "cite": "studies",
    "verify": "studies",
    "sweep": "studies.sweeps.run_sweep",
    "score": "studies.score",
    "torch": "torch",
    "geometry": "geometry",
    "plot": "plot",
    "wasserstein": "wasserstein",
}
__all__ = [
    "Box",
    "Case",
    "CaseError",
    "Checks",
    "Evaluation",
    "FiPyMesh",
    "FvflowError",
    "Gmsh",
    "Graded",
    "Mesh",
    "Meshio",
    "NumericsError",
    "Output",
    "OutputError",
    "Radial",
    "Ugrid",
    "Voronoi",
    "at",
    "balance",
    "cite",
    "compare",
    "compare_sides",
    "distance",
    "duality",
    "export",
    "from_fipy",
    "geometry",
    "measure",
    "plot",
    "push",
    "read",
    "residual",
    "resume",
    "sample",
    "save_mesh",
    "score",
    "sweep",
    "verify",
    "wasserstein",
]


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


__getattr__ = deferred(__name__, _MODULES)
