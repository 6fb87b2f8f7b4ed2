"""The coefficient of diffusion that a case names, on a mesh."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Diffusion, Parameters
from fvflow.mesh import Mesh
from fvflow.problems.diffusivity import AxisDiffusivity, Diffusivity


def diffusivity(mesh: Mesh, diffusion: Diffusion, parameters: Parameters, factor: float) -> Diffusivity:
    """The coefficient that a case names on a mesh, times a factor; raises CaseError if the mesh cannot hold it."""
    _require_entry_per_axis(mesh, diffusion, "diffusion")
    if not diffusion.full:
        return AxisDiffusivity(mesh, diffusion, parameters, factor)
    from fvflow.problems.tensor_diffusivity import TensorDiffusivity

    return TensorDiffusivity(mesh, diffusion, parameters, factor)


def mobility(mesh: Mesh, value: Diffusion, parameters: Parameters) -> AxisDiffusivity:
    """The mobility M(x) that a case names, scalar or diagonal; raises CaseError if it is not positive on all faces."""
    _require_entry_per_axis(mesh, value, "mobility")
    found = AxisDiffusivity(mesh, value, parameters, 1.0, "mobility")
    try:
        values = found.on_faces
    except NumericsError as error:
        raise CaseError(str(error)) from None
    if not (values > 0).all():
        raise CaseError(f"mobility is 0 on {np.count_nonzero(values <= 0)} faces; it has to be above 0 everywhere")
    return found


def _require_entry_per_axis(mesh: Mesh, coefficient: Diffusion, name: str) -> None:
    """Raise CaseError if the entries of a coefficient are not as many as the axes."""
    if isinstance(coefficient.value, tuple) and len(coefficient.value) != mesh.dimension:
        raise CaseError(
            f"{name} has {len(coefficient.value)} entries in {mesh.dimension} dimensions; give one per axis"
        )
