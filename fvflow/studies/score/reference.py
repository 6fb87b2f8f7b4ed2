"""The result that predictions are scored against."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.case import Case
from fvflow.case.build import openings_of, problem_of
from fvflow.dataset import stored_mesh
from fvflow.errors import CaseError
from fvflow.lagrangian.sampling import samples
from fvflow.mesh import Array, Mesh

if TYPE_CHECKING:
    import xarray

_SAME_TIME = 1e-6  # difference below which two times are the same, relative to the last one: labels in single precision
_GAUSS_POINTS = 2  # per axis of a cell: exact for second moments


@dataclass(frozen=True, eq=False)
class Reference:
    """Densities at saved times, with their mesh and case."""

    ds: Any
    """The result, as `fvflow.read` or `Case.run` returns it."""
    _kept: dict[int, Array] = field(default_factory=dict, init=False, repr=False)
    _moments: dict[int, tuple[Array, Array]] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def of(ds: xarray.Dataset) -> Reference:
        """The reference in a result; raises CaseError if it has no density in time, or x is a radius."""
        if "rho" not in ds or not ds.sizes.get("time"):
            raise CaseError("the reference has no density at any time; give the result of a run")
        found = Reference(ds)
        if found.mesh.revolution is not None:
            raise CaseError("x of the reference is a radius; score against a result on a mesh of the space itself")
        return found

    @cached_property
    def mesh(self) -> Mesh:
        """The mesh."""
        return stored_mesh(self.ds)

    @cached_property
    def times(self) -> Array:
        """The saved times (frame,)."""
        return np.atleast_1d(np.asarray(self.ds["time"].values, float))

    @cached_property
    def case(self) -> Case:
        """The case of the result; raises CaseError if it has none."""
        text = self.ds.attrs.get("case")
        if not isinstance(text, str):
            raise CaseError("the reference has no case, so that its equation is not known; give the result of a run")
        return Case.parse(text, self.source or "case")

    @property
    def source(self) -> str:
        """The path of the file that it is in; empty if there is none."""
        return str(self.ds.encoding.get("source", ""))

    @cached_property
    def problem(self) -> Any:
        """The problem of the case in arrays, on the mesh of the result."""
        openings = openings_of(self.case, self.mesh)
        return problem_of(self.case, self.mesh, openings, float(self.times[0]))

    def density(self, frame: int) -> Array:
        """The density (cell,) at a saved time; raises CaseError if it is not finite."""
        if frame not in self._kept:
            found = np.ravel(self.ds["rho"][frame].values).astype(float)
            if not np.isfinite(found).all():
                raise CaseError(f"the reference is not finite at t = {self.times[frame]:g}; give another result")
            self._kept[frame] = found
        return self._kept[frame]

    def mass(self, frame: int) -> float:
        """The mass at a saved time."""
        return float(self.mesh.volume @ self.density(frame))

    def frame_at(self, time: float) -> int:
        """The frame of a saved time; raises CaseError if the time is not saved, with the nearest ones."""
        nearest = int(np.argmin(np.abs(self.times - time)))
        if not abs(self.times[nearest] - time) <= _SAME_TIME * max(np.abs(self.times).max(), abs(time)):
            near = np.sort(self.times[np.argsort(np.abs(self.times - time))[:2]])
            raise CaseError(
                f"t = {time:.12g} of the prediction is not a saved time of the reference; the nearest are "
                f"{' and '.join(f'{each:.12g}' for each in near)}: save it there, or leave it out"
            )
        return nearest

    def draw(self, frame: int, count: int, seed: int) -> Array:
        """Independent samples (sample, dim) of the density at a saved time."""
        return samples(self.mesh, self.density(frame), count, self.key(seed, frame, 2), stratified=False)

    @staticmethod
    def key(*numbers: int) -> int:
        """A seed made of several numbers."""
        return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])

    def moments(self, frame: int) -> tuple[Array, Array]:
        """Mean (dim,) and covariance (dim, dim) of the density, constant in each cell: exact."""
        if frame not in self._moments:
            self._moments[frame] = moments_of(self.mesh, self.density(frame))
        return self._moments[frame]


def moments_of(mesh: Mesh, density: Array) -> tuple[Array, Array]:
    """Mean (dim,) and covariance (dim, dim) of a density (cell,) that is constant in each cell, scaled to mass 1."""
    total, first = 0.0, np.zeros(mesh.dimension)
    origin = mesh.centre.mean(axis=0)
    second = np.zeros((mesh.dimension, mesh.dimension))
    for position, weight, cell in mesh.quadrature(_GAUSS_POINTS):
        mass, offset = weight * density[cell], position - origin
        total += float(mass.sum())
        first += mass @ offset
        second += (mass[:, None] * offset).T @ offset
    mean = first / total
    return origin + mean, second / total - np.outer(mean, mean)
