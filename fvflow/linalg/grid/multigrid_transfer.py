"""The matrix of the next coarser grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array

Faces = list[tuple[Array, Array]]  # down and up along x, y, z


def coarsen(volume: Array, faces: Faces, w: Array, merged: list[int], leak: Array | None = None) -> FaceMatrix:
    """The matrix in u = rho/w, w > 0 (z, y, x), on the grid whose cells are pairs along the axes `merged`.

    An axis with as many faces as cells is periodic: its last face joins the last cell and the first.
    """
    masses, scaled = volume * w, []
    for axis, (down, up) in enumerate(faces):
        lower, upper = _sides(w, 2 - axis, closed(down, w, axis))
        scaled.append((down * lower, up * upper))
    lost = None if leak is None else leak * w
    for axis in merged:
        masses, scaled = merge_pairs(masses, scaled, axis)
        lost = None if lost is None else pair_sums(lost, 2 - axis)
    return _matrix(masses, scaled, lost)


def closed(down: Array, cells: Array, axis: int) -> bool:
    """Whether the faces (z, y, x) of an axis close it to a ring of cells (z, y, x)."""
    return bool(down.shape[2 - axis] == cells.shape[2 - axis])


def _sides(cells: Any, place: int, ring: bool) -> tuple[Any, Any]:
    """What is on the lower, and on the upper side of each face along an array axis."""
    lines = np.moveaxis(cells, place, 0)
    lower, upper = (lines, np.roll(lines, -1, 0)) if ring else (lines[:-1], lines[1:])
    return np.moveaxis(lower, 0, place), np.moveaxis(upper, 0, place)


def _matrix(masses: Array, faces: Faces, leak: Array | None) -> FaceMatrix:
    cells = np.arange(masses.size, dtype=np.int32).reshape(masses.shape)
    down, up = (np.concatenate([pair[way].ravel() for pair in faces]) for way in (0, 1))
    rings = tuple(axis for axis, pair in enumerate(faces) if closed(pair[0], masses, axis))
    sides = [_sides(cells, 2 - axis, axis in rings) for axis in range(3)]
    owner, neighbour = (np.concatenate([pair[side].ravel() for pair in sides]) for side in (0, 1))
    lost = None if leak is None else leak.ravel()
    return FaceMatrix(masses.ravel(), owner, neighbour, down, up, masses.shape, lost, rings)


def _compose(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """The effective coefficients of two faces in series, with no storage between them."""
    between = first[1] + second[0]
    between = np.where(between > 0.0, between, 1.0)
    return first[0] * (second[0] / between), second[1] * (first[1] / between)


def merge_pairs(masses: Array, faces: Faces, axis: int) -> tuple[Array, Faces]:
    """Merge pairs of cells (z, y, x) along an axis; a last cell without a partner stays as it is."""
    place = 2 - axis
    pairs, alone = divmod(masses.shape[place], 2)
    down, up = (np.moveaxis(part, place, 0) for part in faces[axis])
    seam = (down[-1:], up[-1:])
    if ring := closed(faces[axis][0], masses, axis):
        down, up = down[:-1], up[:-1]
    mean = np.sqrt(down[0::2] * up[0::2])
    half = (down[0::2] + mean, up[0::2] + mean)
    whole = (down[1::2], up[1::2])
    count, full = len(whole[0]), min(len(whole[0]), pairs - 1)  # a lone last cell adds no half face
    a, b = _compose((half[0][:count], half[1][:count]), whole)
    a[:full], b[:full] = _compose((a[:full], b[:full]), (half[0][1 : full + 1], half[1][1 : full + 1]))
    if ring:
        closing = seam if alone else _compose((half[0][-1:], half[1][-1:]), seam)
        closing = _compose(closing, (half[0][:1], half[1][:1]))
        whole, (a, b) = _joined(whole, seam), _joined((a, b), closing)
    lack = (whole[0] - whole[1]) - (a - b)
    a, b = a + np.maximum(lack, 0.0), b + np.maximum(-lack, 0.0)
    composed = (np.ascontiguousarray(np.moveaxis(part, 0, place)) for part in (a, b))
    new = [(pair_sums(d, place), pair_sums(u, place)) if k != axis else (d, u) for k, (d, u) in enumerate(faces)]
    new[axis] = (next(composed), next(composed))
    return pair_sums(masses, place), new


def _joined(first: tuple[Array, Array], last: tuple[Array, Array]) -> tuple[Array, Array]:
    return np.concatenate([first[0], last[0]]), np.concatenate([first[1], last[1]])


def pair_sums(part: Array, place: int) -> Array:
    """The sums over pairs of values (z, y, x) along an array axis; a last one without a partner stays as it is."""
    lines = np.moveaxis(part, place, 0)
    total = lines[0::2].copy()
    total[: len(lines) // 2] += lines[1::2]
    return np.ascontiguousarray(np.moveaxis(total, 0, place))
