"""The densities that a run starts from and goes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact import Facts, FromExact, Reference, sample_density
from fvflow.fields import Gaussian, Mixture
from fvflow.flows import equal_masses
from fvflow.linalg import inner
from fvflow.mesh import Mesh

_ROUND_OFF = 1e-9  # relative difference of two masses that counts as none
_ELSEWHERE = 0.01  # L1 distance of a closed form from the target, of the mass, beyond which it is another
_OUTSIDE = 1e-6  # part of a closed form that may lie outside the mesh


def target_density(facts: Facts, reference: Reference | None, names: Mapping[str, float], initial: Any) -> Any:
    """The target density, of the mass of the initial one."""
    target = initial_density(dataclasses.replace(facts, initial=facts.target), reference, names, 1.0)
    volume = facts.mesh.volume
    mass, target_mass = inner(volume, initial), inner(volume, target)
    equal_masses(mass, target_mass, _OUTSIDE if isinstance(facts.target, FromExact) else _ROUND_OFF)
    return target * (mass / target_mass)


def require_end(mesh: Mesh, reference: Reference, target: Any) -> None:
    """Refuse a closed form that does not end at the target: CaseError."""
    off = float(mesh.volume @ np.abs(reference.average(1.0) - target)) / float(mesh.volume @ target)
    if off > _ELSEWHERE:
        raise CaseError(
            f"the closed form at t = 1 is off the target by {off:.2g} of the mass: give the target as "
            "{kind: exact}, or a box that holds both"
        )


def initial_density(facts: Facts, reference: Reference | None, names: Mapping[str, float], time: float = 0.0) -> Any:
    """The initial density scaled to its mass; refuses negative and empty ones."""
    density = sample_density(facts, reference, names, time)
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
    if isinstance(facts.initial, Gaussian | Mixture) and facts.initial.sampling == "average" and total < 0.5:
        raise CaseError(f"only {total:.2g} of the density lies on this mesh: is it outside the box or within one cell?")
    return density if facts.initial.mass is None else density * (facts.initial.mass / total)
