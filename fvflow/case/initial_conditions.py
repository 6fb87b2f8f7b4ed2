"""The densities that a run starts from and goes to."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact import Facts, Reference
from fvflow.fields import DensityKind
from fvflow.flows import equal_masses
from fvflow.linalg import inner
from fvflow.mesh import Array, Mesh

_ROUND_OFF = 1e-9  # relative difference of two masses that counts as none
_ELSEWHERE = 0.01  # L1 distance of a closed form from the target, of the mass, beyond which it is another
_OUTSIDE = 1e-6  # part of a closed form that may lie outside the mesh


def target_density(facts: Facts, reference: Reference | None, initial: Array) -> Array:
    """The target density (cell,), scaled to the mass of the initial one; raises CaseError if the masses differ."""
    assert facts.target is not None
    target = _scaled_density(facts.target, facts, reference, 1.0)
    volume = facts.mesh.volume
    mass, target_mass = inner(volume, initial), inner(volume, target)
    equal_masses(mass, target_mass, _OUTSIDE if facts.target.is_exact else _ROUND_OFF)
    return target * (mass / target_mass)


def require_end(mesh: Mesh, reference: Reference, target: Array) -> None:
    """Refuse a closed form that does not end at the target: CaseError."""
    off = float(mesh.volume @ np.abs(reference.average(1.0) - target)) / float(mesh.volume @ target)
    if off > _ELSEWHERE:
        raise CaseError(
            f"the closed form at t = 1 is off the target by {off:.2g} of the mass: give the target as "
            "{kind: exact}, or a box that holds both"
        )


def initial_density(facts: Facts, reference: Reference | None) -> Array:
    """The initial density (cell,), scaled to its mass; raises CaseError if it is negative, empty or not finite."""
    return _scaled_density(facts.initial, facts, reference, 0.0)


def _scaled_density(kind: DensityKind, facts: Facts, reference: Reference | None, time: float) -> Array:
    density = np.asarray(kind.on(facts, reference, time))
    if not np.isfinite(density).all():
        raise CaseError("the density is not finite everywhere on this mesh; is it narrower than doubles can tell?")
    if density.min() < 0:
        cell = int(np.argmin(density))
        place = ", ".join(f"{axis} = {value:.6g}" for axis, value in zip("xyz", facts.mesh.centre[cell], strict=False))
        raise CaseError(f"the density is {density[cell]:g} at {place} (cell {cell}); it has to be >= 0 everywhere")
    total = inner(facts.mesh.volume, density)
    if not total < np.inf:
        raise CaseError("the mass of the density is too large for doubles; scale it down")
    if not total > 0:
        raise CaseError(f"the density has the mass {total:g} on this mesh; it has to be > 0: is it inside the box?")
    if kind.normalised and total < 0.5:
        raise CaseError(f"only {total:.2g} of the density lies on this mesh: is it outside the box or within one cell?")
    return density if kind.mass is None else density * (kind.mass / total)
