"""The matrix of the next coarser grid."""

from __future__ import annotations

import math

import numpy as np

from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array

Faces = list[tuple[Array, Array]]  # down and up along x, y, z


def coarsen(volume: Array, faces: Faces, w: Array, merged: list[int], leak: Array | None = None) -> FaceMatrix:
    """The matrix in u = rho/w, w > 0 (z, y, x), on the grid whose cells are pairs along the axes `merged`."""
    masses, scaled = volume * w, []
    for axis, (down, up) in enumerate(faces):
        lines = np.moveaxis(w, 2 - axis, 0)
        lower, upper = (np.moveaxis(part, 0, 2 - axis) for part in (lines[:-1], lines[1:]))
        scaled.append((down * lower, up * upper))
    lost = None if leak is None else leak * w
    for axis in merged:
        masses, scaled = merge_pairs(masses, scaled, axis)
        lost = None if lost is None else pair_sums(lost, 2 - axis)
    return _matrix(masses, scaled, lost)


def _matrix(masses: Array, faces: Faces, leak: Array | None) -> FaceMatrix:
    cells = np.arange(masses.size, dtype=np.int32).reshape(masses.shape)
    down, up = (np.concatenate([pair[way].ravel() for pair in faces]) for way in (0, 1))
    owner = np.concatenate([cells.take(range(cells.shape[place] - 1), axis=place).ravel() for place in (2, 1, 0)])
    strides = [np.full(pair[0].size, math.prod(masses.shape[3 - axis :]), np.int32) for axis, pair in enumerate(faces)]
    lost = None if leak is None else leak.ravel()
    return FaceMatrix(masses.ravel(), owner, owner + np.concatenate(strides), down, up, masses.shape, lost)


def _compose(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """The effective coefficients of two faces in series, with no storage between them."""
    between = first[1] + second[0]
    between = np.where(between > 0.0, between, 1.0)
    return first[0] * (second[0] / between), second[1] * (first[1] / between)


def merge_pairs(masses: Array, faces: Faces, axis: int) -> tuple[Array, Faces]:
    """Merge pairs of cells (z, y, x) along an axis; a last cell without a partner stays as it is."""
    place = 2 - axis
    pairs = masses.shape[place] // 2
    down, up = (np.moveaxis(part, place, 0) for part in faces[axis])
    mean = np.sqrt(down[0::2] * up[0::2])
    half = (down[0::2] + mean, up[0::2] + mean)
    whole = (down[1::2], up[1::2])
    count, full = len(whole[0]), min(len(whole[0]), pairs - 1)  # a lone last cell adds no half face
    a, b = _compose((half[0][:count], half[1][:count]), whole)
    a[:full], b[:full] = _compose((a[:full], b[:full]), (half[0][1 : full + 1], half[1][1 : full + 1]))
    lack = (whole[0] - whole[1]) - (a - b)
    a, b = a + np.maximum(lack, 0.0), b + np.maximum(-lack, 0.0)
    composed = (np.ascontiguousarray(np.moveaxis(part, 0, place)) for part in (a, b))
    new = [(pair_sums(d, place), pair_sums(u, place)) if k != axis else (d, u) for k, (d, u) in enumerate(faces)]
    new[axis] = (next(composed), next(composed))
    return pair_sums(masses, place), new


def pair_sums(part: Array, place: int) -> Array:
    """The sums over pairs of values (z, y, x) along an array axis; a last one without a partner stays as it is."""
    lines = np.moveaxis(part, place, 0)
    total = lines[0::2].copy()
    total[: len(lines) // 2] += lines[1::2]
    return np.ascontiguousarray(np.moveaxis(total, 0, place))
