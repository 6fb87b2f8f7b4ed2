"""Predictions from named arrays, as .npz and HDF5 files hold them and a user of Python may give them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields.point_file import checked_points
from fvflow.fields.weighted_samples import WeightedSamples
from fvflow.mesh import Array
from fvflow.mesh.arrays import real_numbers
from fvflow.studies.score.axes import cell_values
from fvflow.studies.score.map_prediction import MapPrediction
from fvflow.studies.score.predictions import DensityPrediction, Prediction, SamplePrediction
from fvflow.studies.score.timing import Timing

_POINTS = ("points", "data", "X", "pcs")
_LABELS = ("labels", "sample_labels", "time", "times", "t")
_FLUXES = ("flux_mean", "m_x", "m_y", "m_z")
_COORDINATES = ("x-coordinate", "y-coordinate", "z-coordinate", "x", "y", "z")
_TIMES = ("t-coordinate", "time", "times", "t")
NAMES = tuple(
    dict.fromkeys(
        ("images", "log_det", "rho", "tensor", "weight", *_POINTS, *_LABELS, *_TIMES, *_COORDINATES, *_FLUXES)
    )
)
"""The names of arrays that are understood."""


def prediction_of(name: str, arrays: Mapping[str, Array], timing: Timing, labels: Array | None) -> Prediction:
    """The prediction that named arrays hold; `labels` (sample,) come from elsewhere.

    points, images[, log_det][, times] are a map; rho(time, [z, y,] x) and time, as fvflow stores them, or
    tensor(b, t, x[, y[, z]]) with t-coordinate and x-coordinate, as PDEBench does, densities; points, or data, X, pcs,
    with labels, or sample_labels, time, and weight, samples. Raises CaseError for anything else.
    """
    if "images" in arrays:
        return _map(name, arrays, timing)
    if "rho" in arrays:
        return _stored(name, arrays, timing)
    if "tensor" in arrays:
        coordinates = {key[0]: arrays[key] for key in reversed(_COORDINATES) if key in arrays}
        return grid(name, arrays["tensor"], timing, _first(arrays, _TIMES), coordinates)
    points = _first(arrays, _POINTS)
    if points is None:
        raise CaseError(
            f"{name}: has the arrays {', '.join(sorted(arrays)) or 'none'}; give points and labels, tensor(b, t, x[, "
            "y]), rho and time, or points and images"
        )
    own = _first(arrays, _LABELS) if labels is None else labels
    return sample_sets(name, points, timing, own, arrays.get("weight"))


def sample_sets(
    name: str, points: Array, timing: Timing, labels: Array | None, weight: Array | None = None
) -> SamplePrediction:
    """Samples (sample, dim) at the times of their labels (sample,)."""
    positions = checked_points(name, points, "sample")
    whole = WeightedSamples.of(name, positions, weight)
    sets = {
        frame: WeightedSamples.of(name, positions[mask], whole.weights[mask])
        for frame, mask in timing.of_labels(name, None if labels is None else np.ravel(labels), len(positions)).items()
    }
    return SamplePrediction(name, timing.reference, sets)


def grid(
    name: str, values: Array, timing: Timing, times: Array | None, coordinates: Mapping[str, Array]
) -> DensityPrediction:
    """Densities (b, t, x[, y[, z]]), or without b if the number of axes says so."""
    mesh = timing.reference.mesh
    axes = mesh.dimension if mesh.edges is not None else 1
    values = np.asarray(real_numbers(name, values))
    if values.ndim == axes + 1:
        values = values[None]
    if values.ndim < 3:
        raise CaseError(f"{name}: has the shape {values.shape}; give densities (b, t, x[, y[, z]])")
    frames = timing.of_grid(name, values.shape[1], times)
    return DensityPrediction(
        name, timing.reference, frames, cell_values(name, values, timing.reference, frames, coordinates)
    )


def _stored(name: str, arrays: Mapping[str, Array], timing: Timing) -> DensityPrediction:
    """rho(time, [z, y,] x), with fluxes if there are any."""
    rho = np.asarray(real_numbers(name, arrays["rho"]))
    coordinates = {axis: arrays[axis] for axis in "xyz" if axis in arrays}
    order = (0, *range(rho.ndim - 1, 0, -1))
    found = grid(name, rho.transpose(order)[None], timing, arrays.get("time"), coordinates)
    fluxes = {
        key: (("interval", *(f"{key}_{axis}" for axis in range(1, arrays[key].ndim))), arrays[key])
        for key in _FLUXES
        if key in arrays
    }
    return DensityPrediction(name, found.reference, found.frames, found.values, fluxes)


def _map(name: str, arrays: Mapping[str, Array], timing: Timing) -> MapPrediction:
    points = _first(arrays, _POINTS)
    if points is None:
        raise CaseError(f"{name}: has images and no points; give the points of which they are images")
    points, images = (checked_points(name, each, "point") for each in (points, arrays["images"]))
    start, end = timing.of_map(name, _first(arrays, ("times", "time")))
    log_det = arrays.get("log_det")
    return MapPrediction(name, timing.reference, start, end, points, images, log_det)


def _first(arrays: Mapping[str, Array], names: tuple[str, ...]) -> Array | None:
    return next((arrays[each] for each in names if each in arrays), None)
