"""The compiled loops of `MeshWalk`; the arrays are its fields, and those of `Exits`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.lagrangian.elastic import intensity
from fvflow.lagrangian.exits import nearest_exit, nearest_point
from fvflow.lagrangian.philox import WALL, uniforms

_CROSSINGS = 100_000  # faces that a step may meet
_CERTAIN = 37.0  # e^-37 is less than any random number
_SAME_WALL = 0.5  # cosine between the normals of two facets from which they are taken for one wall that bends
_NEARLY = 1.0 - 1e-6  # of the way to an exit, so that round-off meets no wall beside it


@kernel()
def _next(position: Any, displacement: Any, here: Any, first: Any, normal: Any, offset: Any) -> Any:
    """The share of a displacement up to the first facet of the cell that it meets, and that facet; 1, -1 if none."""
    share, exit_facet = 1.0, -1
    for facet in range(first[here], first[here + 1]):
        speed, ahead = 0.0, offset[facet]
        for axis in range(len(position)):
            speed += normal[facet, axis] * displacement[axis]
            ahead -= normal[facet, axis] * position[axis]
        if speed > 0.0:  # never through the facet that it came in by
            when = max(ahead, 0.0) / speed
            if when < share:
                share, exit_facet = when, facet
    return share, exit_facet


@kernel()
def _clear(position: Any, displacement: Any, here: Any, first: Any, normal: Any, offset: Any, behind: Any) -> Any:
    """Whether a displacement meets no wall; both arrays are used up."""
    for _ in range(_CROSSINGS):
        share, facet = _next(position, displacement, here, first, normal, offset)
        if facet < 0:
            return True
        if behind[facet] < 0:
            return False
        for axis in range(len(position)):
            position[axis] += share * displacement[axis]
            displacement[axis] *= 1.0 - share
        here = behind[facet]
    return False


@kernel()
def meet(position: Any, displacement: Any, cell: Any, first: Any, normal: Any, offset: Any, behind: Any) -> Any:
    """Whether each displacement (particle,) meets a wall; both arrays are used up."""
    met = np.zeros(len(cell), np.bool_)
    for i in range(len(cell)):
        met[i] = not _clear(position[i], displacement[i], cell[i], first, normal, offset, behind)
    return met


@kernel()
def walk_through(
    number: Any,
    position: Any,
    cell: Any,
    group: Any,
    displacement: Any,
    first: Any,
    normal: Any,
    offset: Any,
    behind: Any,
    opening: Any,
    permeability: Any,
    deviation: Any,
    length: Any,
    step: Any,
    seed: Any,
) -> Any:
    """Follow the displacements, which are used up; the row of a particle that met too many faces, or -1."""
    dimension = position.shape[1]
    for i in range(len(number)):
        here, left = cell[i], 1.0
        for crossing in range(_CROSSINGS + 1):
            if crossing == _CROSSINGS:
                return i
            share, facet = _next(position[i], displacement[i], here, first, normal, offset)
            for axis in range(dimension):
                position[i, axis] += share * displacement[i, axis]
                displacement[i, axis] *= 1.0 - share
            if facet < 0:
                break
            left *= 1.0 - share
            if behind[facet] >= 0:
                here = behind[facet]
                continue
            speed = 0.0
            for axis in range(dimension):
                speed += normal[facet, axis] * displacement[i, axis]
            if opening[facet] >= 0:
                s = _deviation(normal[facet], deviation[i])
                reach = speed / left if left > 0.0 else 0.0
                k = intensity(reach, s, permeability[facet], length)
                if uniforms(number[i], step, 1 + crossing, WALL, seed)[0] < k:
                    group[i], here = opening[facet], -1
                    break
            for axis in range(dimension):
                displacement[i, axis] -= 2.0 * speed * normal[facet, axis]
        cell[i] = here
    return -1


@kernel()
def _deviation(normal: Any, deviation: Any) -> Any:
    """That of a step along a normal."""
    variance = 0.0
    for axis in range(len(normal)):
        variance += (normal[axis] * deviation[axis]) ** 2
    return math.sqrt(variance)


@kernel()
def _beyond(position: Any, corner: Any, normal: Any) -> Any:
    """The distance from the plane of a facet back to a place."""
    distance = 0.0
    for axis in range(len(position)):
        distance += normal[axis] * (corner[0, axis] - position[axis])
    return distance


@kernel()
def absorb_hidden(
    number: Any,
    position: Any,
    cell: Any,
    group: Any,
    start: Any,
    start_cell: Any,
    first: Any,
    normal: Any,
    offset: Any,
    behind: Any,
    corner: Any,
    outward: Any,
    nearest: Any,
    clearance: Any,
    exit_facet: Any,
    opening: Any,
    permeability: Any,
    deviation: Any,
    length: Any,
    step: Any,
    seed: Any,
) -> None:
    """Absorb those that were behind a facet between the ends of their step, which are both before it."""
    dimension = position.shape[1]
    closest, place = np.empty(dimension), np.empty(dimension)
    for i in range(len(number)):
        if group[i] >= 0:
            continue
        widest = 0.0
        for axis in range(dimension):
            widest = max(widest, deviation[i, axis] ** 2)
        if not 2.0 * clearance[start_cell[i]] * clearance[cell[i]] < _CERTAIN * widest:
            continue
        arrays = corner, outward, nearest, first, behind, closest
        e, before = nearest_exit(start[i], start_cell[i], *arrays)
        other, after = nearest_exit(position[i], cell[i], *arrays)
        ahead, back, along = after, before, 0.0
        for axis in range(dimension):
            along += outward[e, axis] * outward[other, axis]
        if along < _SAME_WALL:
            ahead = max(after, _beyond(position[i], corner[e], outward[e]))
            back = max(before, _beyond(start[i], corner[other], outward[other]))
        from_start = before * ahead <= after * back
        if from_start:
            after = ahead
        else:
            e, before = other, back
        s = _deviation(outward[e], deviation[i])
        k = intensity(before + after, s, permeability[exit_facet[e]], length)
        if s == 0.0 or k <= 1.0:
            continue
        if uniforms(number[i], step, 0, WALL, seed)[0] >= (k - 1.0) * math.exp(-2.0 * before * after / s**2):
            continue
        origin, here = (start[i], start_cell[i]) if from_start else (position[i], cell[i])
        nearest_point(origin, corner[e], outward[e], closest)
        way = np.empty(dimension)
        for axis in range(dimension):
            place[axis], way[axis] = origin[axis], _NEARLY * (closest[axis] - origin[axis])
        if _clear(place, way, here, first, normal, offset, behind):
            group[i], cell[i] = opening[exit_facet[e]], -1
            position[i] = closest
