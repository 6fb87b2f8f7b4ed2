"""The coefficient of diffusion that a case names, on a mesh."""

from __future__ import annotations

from fvflow.errors import CaseError
from fvflow.fields import Diffusion, Parameters
from fvflow.mesh import Mesh
from fvflow.problems.diffusivity import AxisDiffusivity, Diffusivity
from fvflow.problems.tensor_diffusivity import TensorDiffusivity


def diffusivity(mesh: Mesh, diffusion: Diffusion, parameters: Parameters, factor: float) -> Diffusivity:
    """The coefficient that a case names on a mesh, times a factor; raises CaseError if the mesh cannot hold it."""
    if isinstance(diffusion.value, tuple) and len(diffusion.value) != mesh.dimension:
        raise CaseError(
            f"diffusion has {len(diffusion.value)} entries in {mesh.dimension} dimensions; give one per axis"
        )
    made = TensorDiffusivity if diffusion.full else AxisDiffusivity
    return made(mesh, diffusion, parameters, factor)
