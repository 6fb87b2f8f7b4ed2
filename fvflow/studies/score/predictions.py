"""What is scored: samples, densities or maps, each of which can be turned into what a metric takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields.weighted_samples import WeightedSamples
from fvflow.lagrangian.sampling import samples
from fvflow.mesh import Array, Mesh
from fvflow.studies.score.reference import Reference, moments_of

Form = Literal["samples", "densities", "map"]
SAMPLES: Form = "samples"
DENSITIES: Form = "densities"
MAP: Form = "map"
_EQUAL = 1e-12  # relative difference of weights that are equal


@dataclass(frozen=True, eq=False)
class Clouds:
    """Samples of a prediction and as many of its reference."""

    points: Array
    """Those of the prediction (sample, dim)."""
    weight: Array | None
    """Their weights (sample,), of sum 1; None if they are equal."""
    others: Array
    """Those of the reference (sample, dim)."""
    mesh: Mesh
    """The mesh of the reference, for its periods."""


class Prediction(ABC):
    """What a model says of the densities of a reference, at some of its saved times."""

    form: ClassVar[Form]
    """What it is."""
    offers: ClassVar[tuple[Form, ...]]
    """What it can be turned into."""
    what: ClassVar[str]
    """What it is, in words."""
    counted: ClassVar[bool] = False
    """Whether its densities are numbers of samples in cells."""
    weighted = False
    """Whether its samples have weights."""
    name: str
    reference: Reference
    frames: tuple[int, ...]

    @abstractmethod
    def samples(self, frame: int, most: int, seed: int) -> tuple[Array, Array | None]:
        """At most so many samples (sample, dim) at a time, and weights (sample,) of sum 1 unless they are equal."""

    def moments(self, frame: int, most: int, seed: int) -> tuple[Array, Array]:
        """The mean (dim,) and the unbiased covariance (dim, dim) of at most so many samples."""
        points, weight = self.samples(frame, most, seed)
        mean = np.average(points, axis=0, weights=weight)
        return np.asarray(mean), np.atleast_2d(np.cov(points.T, aweights=weight))

    @abstractmethod
    def count(self, frame: int, most: int) -> int:
        """The number of samples at a time, of at most so many."""

    @abstractmethod
    def densities(self, frame: int) -> Array:
        """Densities at a time on the mesh of the reference (member, cell)."""

    @abstractmethod
    def perfect(self, most: int, seed: int) -> Prediction:
        """The reference in the form of this prediction and of its size, with at most so many samples."""

    def random_as(self, form: Form) -> bool:
        """Whether what perfect predictions score in this form is random."""
        return True

    @property
    def sample_fault(self) -> str:
        """Why it has no samples, as a sentence without subject; empty if it has."""
        return ""

    @property
    def size(self) -> str:
        """How much there is of it, in words."""
        return ""


@dataclass(frozen=True, eq=False)
class SamplePrediction(Prediction):
    """Samples at saved times of the reference."""

    name: str
    """Where they are from, for messages."""
    reference: Reference
    """What they are a prediction of."""
    sets: Mapping[int, WeightedSamples]
    """The samples at each frame of the reference, in the order of the frames."""
    form: ClassVar[Form] = SAMPLES
    offers: ClassVar[tuple[Form, ...]] = (SAMPLES, DENSITIES)
    what: ClassVar[str] = "samples"
    counted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for each in self.sets.values():
            if each.positions.shape[1] != self.reference.mesh.dimension:
                raise CaseError(
                    f"{self.name}: its samples have {each.positions.shape[1]} coordinate(s), the reference "
                    f"{self.reference.mesh.dimension}; give one coordinate per axis"
                )

    @property
    def frames(self) -> tuple[int, ...]:  # type: ignore[override]
        """Frames of the reference."""
        return tuple(self.sets)

    @cached_property
    def weighted(self) -> bool:  # type: ignore[override]
        """Whether weights differ."""
        return any(np.ptp(each.weights) > _EQUAL * each.weights.max() for each in self.sets.values())

    @property
    def size(self) -> str:
        """The numbers of samples."""
        counts = [len(each.weights) for each in self.sets.values()]
        span = f"{counts[0]}" if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
        return f"{span} samples at {len(counts)} {'time' if len(counts) == 1 else 'times'}"

    def count(self, frame: int, most: int) -> int:
        """The number of samples at a time, of at most so many."""
        return min(most, len(self.sets[frame].weights))

    def samples(self, frame: int, most: int, seed: int) -> tuple[Array, Array | None]:
        """The samples (sample, dim), or a random part of them, and weights (sample,) unless they are equal."""
        points, weight = self.sets[frame].positions, self.sets[frame].weights
        if len(points) > most:
            random = np.random.default_rng(self.reference.key(seed, frame, 3))
            chosen = np.sort(random.choice(len(points), most, replace=False))
            points, weight = points[chosen], weight[chosen] / weight[chosen].sum()
        return points, weight if self.weighted else None

    def densities(self, frame: int) -> Array:
        """The mass of the samples in each cell over its volume (member, cell), of the mass of the reference in all."""
        counted, _ = self.sets[frame].histogram(self.reference.mesh)
        return counted[None] * self.reference.mass(frame)

    def perfect(self, most: int, seed: int) -> SamplePrediction:
        """As many samples of the reference; of weighted ones as many as have the same variance of a mean."""
        found = {}
        for frame, each in self.sets.items():
            count = min(max(1, round(1.0 / float((each.weights**2).sum()))), most)
            points = self.reference.draw(frame, count, self.reference.key(seed, 4))
            found[frame] = WeightedSamples.of("the reference", points)
        return SamplePrediction("the reference", self.reference, found)


@dataclass(frozen=True, eq=False)
class DensityPrediction(Prediction):
    """Densities on the mesh of the reference, by one member or several of a batch."""

    name: str
    """Where they are from, for messages."""
    reference: Reference
    """What they are a prediction of."""
    frames: tuple[int, ...]
    """Frames of the reference."""
    values: Array
    """The densities (member, frame, cell); they may be negative."""
    fluxes: Mapping[str, Any] = field(default_factory=dict)
    """Momenta or mean fluxes that came with them: dimensions and values by name, as `fvflow.measure` takes them."""
    form: ClassVar[Form] = DENSITIES
    offers: ClassVar[tuple[Form, ...]] = (DENSITIES, SAMPLES)
    what: ClassVar[str] = "densities"

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).all():
            member, at, cell = np.argwhere(~np.isfinite(self.values))[0]
            where = ", ".join(f"{x:.6g}" for x in self.reference.mesh.centre[cell])
            time = self.reference.times[self.frames[at]]
            raise CaseError(
                f"{self.name}: the density is {self.values[member, at, cell]:g} at ({where}), t = {time:g}; give "
                "finite numbers"
            )

    @property
    def size(self) -> str:
        """The numbers of members, times and cells."""
        members, times, cells = self.values.shape
        batch = f"{members} members, " if members > 1 else ""
        return f"{batch}{times} {'time' if times == 1 else 'times'}, {cells} cells"

    def densities(self, frame: int) -> Array:
        """The densities (member, cell) at a time."""
        return np.asarray(self.values[:, self.frames.index(frame)])

    @property
    def sample_fault(self) -> str:
        """That there are several members, or no density >= 0."""
        if len(self.values) > 1:
            return f"draws samples of one density, and there are {len(self.values)} at each time; give one"
        if (self.values < 0).any() or not self.values.any(axis=2).all():
            return f"draws samples of densities >= 0 with some mass, and the least is {self.values.min():.3g}; use rmse"
        return ""

    def count(self, frame: int, most: int) -> int:
        """So many."""
        return most

    def samples(self, frame: int, most: int, seed: int) -> tuple[Array, Array | None]:
        """So many samples (sample, dim), drawn by a seed."""
        mesh, key = self.reference.mesh, self.reference.key(seed, frame, 5)
        return samples(mesh, self.densities(frame)[0], most, key, stratified=False), None

    def moments(self, frame: int, most: int, seed: int) -> tuple[Array, Array]:
        """The mean (dim,) and the covariance (dim, dim) of the density, exact."""
        return moments_of(self.reference.mesh, self.densities(frame)[0])

    def perfect(self, most: int, seed: int) -> DensityPrediction:
        """The densities of the reference."""
        values = np.array([[self.reference.density(frame) for frame in self.frames]])
        return DensityPrediction("the reference", self.reference, self.frames, values)

    def random_as(self, form: Form) -> bool:
        """Whether samples are drawn."""
        return form == SAMPLES
