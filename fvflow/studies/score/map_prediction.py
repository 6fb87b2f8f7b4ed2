"""A map as a prediction: points and their images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from fvflow.case import push
from fvflow.errors import CaseError
from fvflow.fields.weighted_samples import WeightedSamples
from fvflow.mesh import Array
from fvflow.studies.score.predictions import DENSITIES, MAP, SAMPLES, Form, Prediction, SamplePrediction
from fvflow.studies.score.reference import Reference


@dataclass(frozen=True, eq=False)
class MapPrediction(Prediction):
    """A map T from the density at one saved time to that at another, known at points."""

    name: str
    """Where it is from, for messages."""
    reference: Reference
    """The result between two times of which it is a prediction."""
    start: int
    """The frame of the points."""
    end: int
    """The frame of the images."""
    points: Array
    """Samples x of the density at the start (point, dim)."""
    images: Array
    """T(x) (point, dim)."""
    log_det: Array | None = None
    """log |det DT(x)| (point,)."""
    form: ClassVar[Form] = MAP
    offers: ClassVar[tuple[Form, ...]] = (MAP, SAMPLES, DENSITIES)
    what: ClassVar[str] = "a map"
    counted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        dimension = self.reference.mesh.dimension
        for word, values in {"points": self.points, "images": self.images}.items():
            if values.shape != (len(self.points), dimension):
                raise CaseError(
                    f"{self.name}: {word} have the shape {values.shape}; give {len(self.points)} {word} with "
                    f"{dimension} coordinate(s), as the reference has"
                )
        if self.log_det is not None and self.log_det.shape != (len(self.points),):
            raise CaseError(f"{self.name}: log_det has the shape {self.log_det.shape}; give one for each point")
        if self.log_det is not None and not np.isfinite(self.log_det).all():
            bad = int(np.argmin(np.isfinite(self.log_det)))
            raise CaseError(f"{self.name}: log_det is {self.log_det[bad]:g} at point {bad}; give finite numbers")

    @property
    def frames(self) -> tuple[int, ...]:  # type: ignore[override]
        """The frame of the images."""
        return (self.end,)

    @property
    def size(self) -> str:
        """The number of points."""
        times = self.reference.times
        return f"{len(self.points)} points from t = {times[self.start]:g} to {times[self.end]:g}"

    @cached_property
    def _images(self) -> SamplePrediction:
        found = WeightedSamples.of(self.name, self.images)
        return SamplePrediction(self.name, self.reference, {self.end: found})

    @cached_property
    def truth(self) -> Array:
        """The points carried along the probability flow of the reference (point, dim); raises as `fvflow.push`."""
        times = self.reference.times
        return push(self.reference.ds, self.points, float(times[self.start]), float(times[self.end])).points

    def samples(self, frame: int, most: int, seed: int) -> tuple[Array, Array | None]:
        """The images (sample, dim), or a random part of them."""
        return self._images.samples(frame, most, seed)

    def count(self, frame: int, most: int) -> int:
        """The number of images, of at most so many."""
        return self._images.count(frame, most)

    def densities(self, frame: int) -> Array:
        """The mass of the images in each cell over its volume (member, cell)."""
        return self._images.densities(frame)

    def perfect(self, most: int, seed: int) -> SamplePrediction:
        """As many samples of the reference at the end: what metrics of samples are compared with."""
        return self._images.perfect(most, seed)
