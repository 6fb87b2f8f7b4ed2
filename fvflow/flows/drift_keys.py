"""The keys potential, velocity, stream and tilt of a flow, as a drift on a mesh."""

from __future__ import annotations

from fvflow.errors import CaseError
from fvflow.fields import Drift, Function, Parameters, as_function
from fvflow.mesh import Mesh


def drift_of(
    potential: Function | None,
    velocity: tuple[Function, ...] | None,
    stream: Function | None,
    tilt: tuple[float, ...] | None,
    parameters: Parameters,
) -> Drift:
    """The drift as functions, whose errors are placed at their keys."""
    return Drift(
        None if potential is None else as_function(potential, "flow", "potential"),
        None
        if velocity is None
        else tuple(as_function(part, "flow", "velocity", axis) for axis, part in enumerate(velocity)),
        None if stream is None else as_function(stream, "flow", "stream"),
        parameters,
        tilt or (),
    )


def require_axes(mesh: Mesh, drift: Drift) -> None:
    """Raise CaseError unless the parts of a drift have as many components as the mesh has dimensions."""
    if drift.velocity is not None and len(drift.velocity) != mesh.dimension:
        raise CaseError(
            f"velocity has {len(drift.velocity)} components in {mesh.dimension} dimensions; give one per axis"
        ).at("flow", "velocity")
    if drift.tilt and len(drift.tilt) != mesh.dimension:
        raise CaseError(f"tilt has {len(drift.tilt)} entries in {mesh.dimension} dimensions; give one per axis").at(
            "flow", "tilt"
        )
    if drift.stream is not None and mesh.dimension != 2:
        raise CaseError(f"a stream function needs two dimensions, the mesh has {mesh.dimension}; use velocity").at(
            "flow", "stream"
        )
    if drift.stream is not None and mesh.revolution is not None:
        raise CaseError("a stream function is one of the plane, and x is a radius; give the velocity instead").at(
            "flow", "stream"
        )
