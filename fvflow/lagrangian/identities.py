"""What densities and the points that they carry have to agree in, as numbers: the identities of the notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from fvflow.mesh import Array, Mesh

_GAUSS_POINTS = 3  # per axis of a cell


class Gap(NamedTuple):
    """How far means over points are from the integrals that they are to be: the largest of several."""

    largest: float
    """The largest difference."""
    errors: float
    """The largest difference in standard errors of as many independent points; infinite where these are 0."""


@dataclass(frozen=True, eq=False)
class CosineBank:
    """The test functions prod_a cos(pi k_a (x_a - lower_a)/length_a) on a mesh, 1 <= k_x + k_y + k_z <= order.

    Their values are in [-1, 1] and their slopes at the walls of a box 0. Along a periodic axis k_a counts whole
    periods, and sines join the cosines.
    """

    mesh: Mesh
    order: int = 3

    @cached_property
    def _functions(self) -> list[tuple[tuple[int, bool], ...]]:
        """The number k and whether it is a sine, along each axis, of each function."""
        choices = [
            [(k, sine) for k in range(self.order + 1) for sine in (False, True) if not sine or (k and axis in periodic)]
            for periodic in (self.mesh.periodic,)
            for axis in range(self.mesh.dimension)
        ]
        return [each for each in product(*choices) if 1 <= sum(k for k, _ in each) <= self.order]

    def at(self, points: Array) -> Array:
        """The functions at points (point, function)."""
        mesh, found = self.mesh, np.ones((len(points), len(self._functions)))
        lower, upper = mesh.points.min(axis=0), mesh.points.max(axis=0)
        for axis, (low, high) in enumerate(zip(lower, upper, strict=True)):
            turn = (2 if axis in mesh.periodic else 1) * np.pi * (points[:, axis] - low) / (high - low)
            for number, function in enumerate(self._functions):
                k, sine = function[axis]
                if k:
                    found[:, number] *= np.sin(k * turn) if sine else np.cos(k * turn)
        return found


class MomentBank(NamedTuple):
    """The test functions x_i - c_i and (x_i - c_i) (x_j - c_j), i <= j, about a centre."""

    centre: Array

    def at(self, points: Array) -> Array:
        """The functions at points (point, function)."""
        offset = points - self.centre
        first, second = np.triu_indices(len(self.centre))
        return np.concatenate([offset, offset[:, first] * offset[:, second]], axis=1)


def integrals(bank: CosineBank | MomentBank, mesh: Mesh, density: Array) -> Array:
    """int phi rho/mass of each function phi (function,) for the density rho (cell,), constant in each cell.

    By three Gauss points per axis of a cell: exact for the moments.
    """
    rule = mesh.quadrature(_GAUSS_POINTS)
    return np.asarray(sum((weight * density[part]) @ bank.at(at) for at, weight, part in rule)) / (
        mesh.volume @ density
    )


def push_forward_gap(bank: CosineBank | MomentBank, points: Array, mesh: Mesh, density: Array) -> Gap:
    """How far the means of phi over points (point, dim) are from int phi rho/mass, over the functions of a bank.

    If the points are images T(x_i) of samples of rho_0 and rho = T#rho_0, both are the same up to the error of samples:
    int phi dT#rho_0 = int phi(T) drho_0; the notes, equations (3), (4), (24), with `MomentBank` (25)-(29).
    """
    values = bank.at(points)
    difference = np.abs(values.mean(axis=0) - integrals(bank, mesh, density))
    error = values.std(axis=0) / np.sqrt(len(points))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(difference > 0, difference / error, 0.0)
    return Gap(float(difference.max()), float(errors.max()))


def density_gap(before: Array, after: Array, log_det: Array) -> float:
    """Root mean square over points of log rho(t, T(x)) + log det DT(x) - log rho_0(x); all (point,).

    0 if rho(t, T) det DT = rho_0; the notes, equations (128)-(133).
    """
    return float(np.sqrt(np.mean((after + log_det - before) ** 2)))


def determinant_gap(mesh: Mesh, plus: Array, minus: Array, distance: float, log_det: Array) -> float:
    """Root mean square over points of log det DT from differences less `log_det` (point,), the integral of div v.

    `plus` and `minus` (axis, point, dim) are the images of the points moved by +-distance along each axis; infinite
    where these meet or change places, as they do in paths that are not resolved; the notes, equations (128)-(133).
    """
    apart = mesh.nearest_image((plus - minus).reshape(-1, mesh.dimension)).reshape(plus.shape)
    jacobian = apart.transpose(1, 2, 0) / (2.0 * distance)
    determinant = np.linalg.det(jacobian)
    if not (determinant > 0.0).all():
        return math.inf
    return float(np.sqrt(np.mean((np.log(determinant) - log_det) ** 2)))


def path_action(mesh: Mesh, times: Array, positions: Array) -> float:
    """int mean |dX/dt|^2 dt of paths (frame, point, dim), by chords between the times (frame,); the notes, (6).

    Along a periodic axis a chord is the shortest one, less than half a period.
    """
    chord = mesh.nearest_image(np.diff(positions, axis=0).reshape(-1, mesh.dimension))
    length2 = (chord**2).sum(axis=1).reshape(len(times) - 1, -1).mean(axis=1)
    return float((length2 / np.diff(times)).sum())


def velocity_action(mesh: Mesh, times: Array, densities: Sequence[Array], velocities: Sequence[Array]) -> float:
    """int int |v|^2 rho dx dt/mass by the trapezoid rule, v (cell, dim) and rho (cell,) at each time; notes, (5)."""
    masses = [mesh.volume * density for density in densities]
    pairs = zip(masses, velocities, strict=True)
    powers = [mass @ (velocity**2).sum(axis=1) / mass.sum() for mass, velocity in pairs]
    return float(np.trapezoid(powers, times))


def flux_action(mesh: Mesh, times: Array, densities: Sequence[Array], fluxes: Iterable[Array]) -> float:
    """The same from the mean fluxes F (face,) of the intervals: sum Dt sum_s F_s^2/(T_s rho_s)/mass.

    rho_s is the mean over the ends of the interval and the two cells. For orthogonal faces sum_s |s| d n n = |K| I over
    the parts of a cell, so that it is of second order in space and time.
    """
    total = 0.0
    for length, (before, after), flux in zip(np.diff(times), pairwise(densities), fluxes, strict=True):
        both = before + after
        rho = 0.25 * (both[mesh.owner] + both[mesh.neighbour])
        moving = flux != 0
        power = flux[moving] ** 2 / (mesh.transmissibility[moving] * rho[moving])
        total += float(length * power.sum() / (0.5 * mesh.volume @ both))
    return total
