"""Densities estimated from samples, in a file or in arrays: kinds of a case."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

from annotated_types import Gt
from numpy.typing import ArrayLike

from fvflow.errors import CaseError
from fvflow.fields.base import Coverage, DensityKind
from fvflow.fields.density_types import Truncate
from fvflow.fields.expression import Parameters
from fvflow.fields.number_file import shared
from fvflow.fields.point_file import read_points, require_point_file
from fvflow.fields.sampling import widest
from fvflow.fields.weighted_samples import WeightedSamples
from fvflow.mesh import Array, FilePath, Mesh

Bandwidth = Annotated[float, Gt(0)] | Literal["none"]
_NONE = 1e-300  # width of no cell
_LEAST = 1e-3  # share of the weight outside the mesh that is cut off without being asked for


class SampledDensity(DensityKind):
    """What densities from samples have in common, whether the samples are in a file or in arrays."""

    bandwidth: float | Literal["none"]
    truncate: float

    def samples(self) -> WeightedSamples:
        """The samples; raises CaseError if they cannot be read."""
        raise NotImplementedError

    def outside(self, mesh: Mesh) -> int:
        """Number of samples outside the mesh."""
        return int((self.samples().cells(mesh) < 0).sum())

    def effective_samples(self) -> float:
        """(sum_i w_i)^2/sum_i w_i^2: the number of samples of equal weight with the same variance of a mean."""
        return 1.0 / float((self.samples().weights ** 2).sum())

    def mass_off_mesh(self, mesh: Mesh) -> float:
        """Share of the mass outside the mesh, 0 to 1: the weight of samples there, or the part of their kernels."""
        return _estimated(self.samples(), mesh, self.bandwidth)[1]

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage:
        """The mass outside the mesh, and how many samples."""
        mesh, cells = facts.mesh, self.samples().cells(facts.mesh)
        count = int((cells < 0).sum())
        note = f"{count} of {len(cells)} samples are outside the mesh" if count else ""
        width = math.inf if self.bandwidth == "none" else self.bandwidth / max(widest(mesh, cells[cells >= 0]), _NONE)
        return Coverage(self.mass_off_mesh(mesh), width, note=note, measure="bandwidth", instead="bandwidth: none")

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        return _estimated(self.samples(), mesh, self.bandwidth)[0]


@dataclass(frozen=True)
class Samples(SampledDensity):
    """A density estimated from samples: the mass of a cell is the weight of the samples in it, over the total.

    A .csv file has a header and the columns x[, y[, z]][, weight]; an .npy file holds positions (sample, dim), .npz
    and .nc files hold them as `points`, and perhaps `weight`. With a bandwidth h the density is the mixture
    sum_i w_i N(x_i, h^2 I)/sum_i w_i. What lies outside the mesh is cut off.
    """

    file: FilePath
    """Path of a .csv, .npy, .npz or .nc file, relative to the case file."""
    bandwidth: Bandwidth = "none"
    """Standard deviation h of a Gaussian kernel about each sample, a length; `none` counts the samples in each cell."""
    truncate: Truncate = _LEAST
    """Largest share of the mass that may lie outside the mesh, where it is cut off."""
    mass: Annotated[float, Gt(0)] = 1.0
    """Total mass to which the density is scaled."""
    kind: Literal["samples"] = "samples"

    def __post_init__(self) -> None:
        require_point_file(self.file)

    @property
    def files(self) -> tuple[str, ...]:
        """Path of the file."""
        return (self.file,)

    def samples(self) -> WeightedSamples:
        """The samples; raises CaseError if they cannot be read."""
        return shared(self.file, ("samples",), lambda: _read(self.file))


@dataclass(frozen=True, eq=False)
class ArraySamples(SampledDensity):
    """A density estimated from samples in arrays, for a case made in Python; a case file uses `Samples` instead.

    The arrays are copied. Raises CaseError as `WeightedSamples.of`.

    >>> from fvflow.mesh import Box
    >>> ArraySamples([0.1, 0.2, 0.9]).sample(Box((0.0,), (1.0,), (2,)).build(), {}).round(3)
    array([1.333, 0.667])
    """

    positions: ArrayLike
    """Positions (sample, dim), or (sample,) on a line."""
    weights: ArrayLike | None = None
    """Weights (sample,), not negative; equal by default."""
    bandwidth: float | Literal["none"] = "none"
    """Standard deviation h of a Gaussian kernel about each sample, a length; "none" counts the samples in each cell."""
    truncate: float = _LEAST
    """Largest share of the mass that may lie outside the mesh, where it is cut off."""
    mass: float = 1.0
    """Total mass to which the density is scaled."""
    kind: Literal["array-samples"] = "array-samples"
    _checked: WeightedSamples = field(init=False, repr=False)

    def __post_init__(self) -> None:
        checked = WeightedSamples.of("an array of samples", self.positions, self.weights)
        number = not isinstance(self.bandwidth, str)
        if self.bandwidth != "none" and not (number and 0 < self.bandwidth < math.inf):
            raise CaseError(f'bandwidth {self.bandwidth}; give a number > 0, or "none"')
        for name, value in {"positions": checked.positions, "weights": checked.weights, "_checked": checked}.items():
            object.__setattr__(self, name, value)

    def samples(self) -> WeightedSamples:
        """The samples."""
        return self._checked


@lru_cache(maxsize=1)  # needed twice: for the density and for the share outside the mesh
def _estimated(samples: WeightedSamples, mesh: Mesh, bandwidth: float | Literal["none"]) -> tuple[Array, float]:
    """The density (cell,), and the share of the mass outside the mesh."""
    if bandwidth == "none":
        return samples.histogram(mesh)
    density = samples.mixture(mesh, bandwidth)
    return density, max(0.0, 1.0 - float(mesh.volume @ density))


def _read(file: str) -> WeightedSamples:
    found = read_points(file)
    return WeightedSamples.of(file, found.points, found.weight)
