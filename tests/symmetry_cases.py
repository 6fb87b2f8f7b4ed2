"""Pairs of cases that an exact symmetry of the equations relates, as hypothesis draws them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatchmethod
from typing import Any, get_args
from zlib import crc32

import numpy as np
from hypothesis import assume, reject
from hypothesis import strategies as st
from numpy.random import Generator

from fvflow.case import Case
from fvflow.energies import Entropy, Interaction, PorousMedium, Potential, PowerLaw
from fvflow.error_control import Adaptive
from fvflow.errors import CaseError
from fvflow.fields import ArrayDensity, Component, Gaussian, Mixture, Spike, Uniform
from fvflow.flows import FokkerPlanckFlow, WassersteinFlow
from fvflow.fluxes import Flux, ScharfetterGummel
from fvflow.linalg import Krylov, Multigrid
from fvflow.mesh import Array, Box, Extent, Graded, Mesh, MeshDescription, Voronoi
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.steppers import (
    JKO,
    LJKO,
    CrankNicolson,
    GradientImplicitEuler,
    GradientStepper,
    ImplicitEuler,
    LinearStepper,
    Midpoint,
    Muscl,
    SplitCrankNicolson,
    TrBdf2,
)
from fvflow.times import Times
from tests.meshes import acute

STEPPERS = (*get_args(LinearStepper), *get_args(GradientStepper))
ORDERED = ("split-euler", "split-crank-nicolson")  # the order of the axes is part of the method
_NAMES = re.compile(r"\b[xyztr]\b")
KT = 4e-21  # Boltzmann's constant times room temperature, in joules


@dataclass(frozen=True, eq=False)
class Cells(MeshDescription):
    """Polygons by their nodes: a mesh that is no grid, and its images."""

    points: Array
    cell_points: Array
    centre: Array | None = None
    kind = "cells"

    @property
    def extent(self) -> Extent:
        """Two dimensions."""
        return Extent(2, len(self.cell_points))

    @property
    def lower(self) -> tuple[float, ...]:
        """The lower corner of the domain, a box."""
        return tuple(map(float, self.points.min(axis=0)))

    @property
    def upper(self) -> tuple[float, ...]:
        """The upper corner of the domain."""
        return tuple(map(float, self.points.max(axis=0)))

    def build(self) -> Mesh:
        """The mesh about the given centres, or circumcentres."""
        return mesh_from_cells(self.points, self.cell_points, self.centre)


@dataclass(frozen=True)
class Symmetry:
    """x'_i = length sign_i x_{order_i} + shift_i, t' = time t, mass' = mass times mass: fields and cases change along.

    A density is multiplied by mass/length^d, a velocity by length/time, eps and a potential by length^2/time; so is the
    variation of an energy, from which the factors of the coefficients of its parts follow.
    """

    order: tuple[int, ...]
    sign: tuple[int, ...]
    shift: tuple[float, ...]
    length: float = 1.0
    time: float = 1.0
    mass: float = 1.0

    @property
    def dimension(self) -> int:
        """Number of axes."""
        return len(self.order)

    @property
    def variation(self) -> float:
        """Factor of eps, potentials and variations of energies."""
        return self.length**2 / self.time

    @property
    def density_factor(self) -> float:
        """Factor of a density."""
        return self.mass / self.length**self.dimension

    def point(self, point: tuple[float, ...]) -> tuple[float, ...]:
        """The image of a point."""
        parts = zip(self.order, self.sign, self.shift, strict=True)
        return tuple(self.length * sign * point[old] + shift for old, sign, shift in parts)

    def box(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
        """Lower and upper corner of the image of a box."""
        corners = self.point(lower), self.point(upper)
        return {"lower": tuple(map(min, *corners)), "upper": tuple(map(max, *corners))}

    def matrix(self, matrix: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        """The image of a covariance."""
        places = list(zip(self.order, self.sign, strict=True))
        return tuple(tuple(self.length**2 * a * b * matrix[i][j] for j, b in places) for i, a in places)

    def formula(self, text: str, factor: float, *, displacement: bool = False) -> str:
        """The image of a function of position and time, or of a displacement, times a factor."""
        image = {"t": f"(t/{self.time!r})", "r": f"(r/{self.length!r})"}
        for new, (old, sign, shift) in enumerate(zip(self.order, self.sign, self.shift, strict=True)):
            start = 0.0 if displacement else shift
            image["xyz"[old]] = f"(({'xyz'[new]} - ({start!r}))/({sign * self.length!r}))"
        return f"({factor!r})*({_NAMES.sub(lambda name: image[name[0]], text)})"

    def cells(self, values: Array, shape: tuple[int, ...]) -> Array:
        """Values (cell,) in the order of the cells of the image of a grid of the shape (z, y, x), or of other cells."""
        if len(shape) < self.dimension:  # no grid: its cells keep their order
            return values
        by_axis = values.reshape(shape).T.transpose(self.order)
        return np.flip(by_axis, [axis for axis, sign in enumerate(self.sign) if sign < 0]).T.ravel()

    def density(self, density: Array, shape: tuple[int, ...]) -> Array:
        """The image of a density (cell,)."""
        return self.density_factor * self.cells(density, shape)

    def energy(self, energy: float, mass: float, epsilon: float) -> float:
        """The image of an energy; rho log rho of a density times a constant adds the logarithm of the latter."""
        return self.variation * self.mass * (energy + epsilon * mass * np.log(self.density_factor))

    @singledispatchmethod
    def image(self, part: Any) -> Any:
        """The image of a part of a case."""
        raise NotImplementedError(type(part))

    @image.register
    def _(self, mesh: Box) -> Box:
        cells = tuple(mesh.cells[old] for old in self.order)
        return Box(**self.box(mesh.lower, mesh.upper), cells=cells)

    @image.register
    def _(self, mesh: Graded) -> Graded:
        ratio = tuple(mesh.ratio[old] ** sign for old, sign in zip(self.order, self.sign, strict=True))
        cells = tuple(mesh.cells[old] for old in self.order)
        return Graded(**self.box(mesh.lower, mesh.upper), cells=cells, ratio=ratio)

    @image.register
    def _(self, mesh: Cells) -> Cells:
        points, centre = (
            None if part is None else np.array([self.point(tuple(each)) for each in part.tolist()])
            for part in (mesh.points, mesh.centre)
        )
        return Cells(points, mesh.cell_points, centre)

    @image.register
    def _(self, density: Gaussian) -> Gaussian:
        moments = {"mean": self.point(density.mean), "covariance": self.matrix(density.covariance)}
        return replace(density, **moments, mass=self.mass * density.mass)

    @image.register
    def _(self, part: Component) -> Component:
        return replace(part, mean=self.point(part.mean), covariance=self.matrix(part.covariance))

    @image.register
    def _(self, density: Mixture) -> Mixture:
        parts = tuple(self.image(part) for part in density.components)
        return replace(density, components=parts, mass=self.mass * density.mass)

    @image.register
    def _(self, density: Uniform) -> Uniform:
        return replace(density, **self.box(density.lower, density.upper), mass=self.mass * density.mass)

    @image.register
    def _(self, density: Spike) -> Spike:
        return replace(density, at=self.point(density.at), mass=self.mass * density.mass)

    @image.register
    def _(self, part: Entropy) -> Entropy:
        return replace(part, epsilon=self.variation * part.epsilon)

    @image.register
    def _(self, part: Potential) -> Potential:
        return replace(part, potential=self.formula(part.potential, self.variation))

    @image.register(PorousMedium)
    @image.register(PowerLaw)
    def _(self, part: PorousMedium | PowerLaw) -> PorousMedium | PowerLaw:
        factor = self.variation * self.density_factor ** (1.0 - part.exponent)
        return replace(part, coefficient=factor * part.coefficient)

    @image.register
    def _(self, part: Interaction) -> Interaction:
        return replace(part, kernel=self.formula(part.kernel, self.variation / self.mass, displacement=True))

    @image.register
    def _(self, flow: FokkerPlanckFlow) -> FokkerPlanckFlow:
        changes: dict[str, Any] = {"epsilon": self.variation * flow.epsilon}
        if flow.potential is not None:
            changes["potential"] = self.formula(flow.potential, self.variation)
        if flow.velocity is not None:
            parts = zip(self.order, self.sign, strict=True)
            speed = self.length / self.time
            changes["velocity"] = tuple(self.formula(flow.velocity[old], sign * speed) for old, sign in parts)
        if flow.stream is not None:
            orientation = np.linalg.det(np.diag(self.sign) @ np.eye(self.dimension)[list(self.order)])
            changes["stream"] = self.formula(flow.stream, round(orientation) * self.variation)
        return replace(flow, **changes)

    @image.register
    def _(self, flow: WassersteinFlow) -> WassersteinFlow:
        return replace(flow, energy=tuple(self.image(part) for part in flow.energy))

    @image.register
    def _(self, times: Times) -> Times:
        control = times.adaptive
        step = self.time * times.first
        return Times(self.time * times.end, step if control is None else replace(control, initial=step))

    @image.register
    def _(self, case: Case) -> Case:
        initial = case.initial
        if getattr(initial, "kind", "") == "array":
            initial = ArrayDensity(self.cells(initial.values, case.mesh.build().shape), self.mass * initial.mass)
        else:
            initial = self.image(initial)
        return Case(self.image(case.mesh), self.image(case.flow), initial, self.image(case.times))


# symmetries


def identity(dimension: int) -> Symmetry:
    """The symmetry that changes nothing."""
    return Symmetry(tuple(range(dimension)), (1,) * dimension, (0.0,) * dimension)


def _shifted(random: Generator, dimension: int) -> Symmetry:
    shift = random.integers(-64, 65, dimension) * 2.0 ** random.integers(-4, 5)
    return replace(identity(dimension), shift=tuple(map(float, shift)))


def _reflected(random: Generator, dimension: int) -> Symmetry:
    sign = np.ones(dimension, int)
    sign[random.integers(0, dimension)] = -1
    return replace(identity(dimension), sign=tuple(map(int, sign)))


def _permuted(random: Generator, dimension: int) -> Symmetry:
    order = tuple(map(int, random.permutation(dimension)))
    assume(order != tuple(range(dimension)))
    return replace(identity(dimension), order=order)


def _in_units(random: Generator, dimension: int) -> Symmetry:
    length = random.choice([1e-6, 1e6])
    return replace(identity(dimension), length=float(length), time=float(10.0 ** random.uniform(-6, 6)))


SYMMETRIES: dict[str, Callable[[Generator, int], Symmetry]] = {
    "mass": lambda random, d: replace(identity(d), mass=float(10.0 ** random.uniform(-6, 6))),
    "translation": _shifted,
    "reflection": _reflected,
    "permutation": _permuted,
    "units": _in_units,
    "thermal": lambda random, d: replace(identity(d), time=1.0 / KT),
}

# cases

_CELLS = {1: (30, 51), 2: (10, 13), 3: (5, 7)}
_WELLS = ("{}**2/2", "({}**2 - 1)**2/4", "sin(2*{0}) + {0}/2", "2*abs({})", "cos(3*{})")
_KERNELS = ("r**2/2", "exp(-r**2)", "-exp(-r**2)", "r**4/4 - r**2/2", "abs({0})", "-log(r)")


def _mesh(random: Generator, dimension: int) -> Box | Graded:
    cells = tuple(map(int, random.integers(*_CELLS[dimension], dimension)))
    lower = tuple(map(float, -2.0 - random.integers(0, 5, dimension) / 4))
    upper = tuple(map(float, 2.0 + random.integers(0, 5, dimension) / 4))
    if random.random() < 0.6:
        return Box(lower, upper, cells)
    return Graded(lower, upper, cells, tuple(map(float, 4.0 ** random.uniform(-1, 1, dimension))))


def _cells(random: Generator) -> Cells:
    """Triangles, or Voronoi cells, of a box about the origin."""
    lower, half = np.array([-2.0, -2.0]) - random.integers(0, 5, 2) / 4, 2.0 + random.integers(0, 3) / 4
    if random.random() < 0.5:
        points, triangles = acute(1)
        return Cells(lower + 2 * half * points, triangles)
    upper = tuple(map(float, lower + 2 * half))
    cells = tuple(map(int, random.integers(7, 10, 2)))
    mesh = Voronoi(tuple(map(float, lower)), upper, cells, seed=int(random.integers(0, 1000))).build()
    return Cells(mesh.points, mesh.cell_points, mesh.centre)


def _potential(random: Generator, dimension: int) -> str:
    parts = [str(random.choice(_WELLS)).format(axis) for axis in "xyz"[:dimension]]
    return " + ".join([*parts, *(["0.3*x*y"] if dimension > 1 else [])])


def _drift(random: Generator, dimension: int, steady: bool) -> dict[str, Any]:
    kind = random.choice(["potential", "velocity", "none", "moving", "stream"], p=[0.4, 0.25, 0.1, 0.15, 0.1])
    if kind == "stream" and dimension == 2:
        return {"stream": "sin(x)*cos(y) + x*y/4"}
    if kind == "none":
        return {}
    if kind == "moving" and not steady:
        return {"potential": f"(1 + t)*({_potential(random, dimension)})"}
    if kind == "velocity":
        return {"velocity": ("1 - x/2 + sin(3*x)", "x + cos(y)", "z*x/4 - y")[:dimension]}
    return {"potential": _potential(random, dimension)}


def _covariance(random: Generator, dimension: int) -> tuple[tuple[float, ...], ...]:
    root = np.diag(random.uniform(0.3, 0.8, dimension))
    if random.random() < 0.3:
        root += 0.1 * np.tril(random.normal(size=(dimension, dimension)), -1)
    return tuple(tuple(map(float, row)) for row in root @ root.T)


def _point(random: Generator, dimension: int, reach: float) -> tuple[float, ...]:
    return tuple(map(float, random.uniform(-reach, reach, dimension)))


def _initial(random: Generator, mesh: MeshDescription) -> Any:
    dimension = mesh.extent.dimension
    kind = random.choice(["gaussian", "mixture", "uniform", "block", "spike", "noise", "holes"])
    # Off grids the quadrature of a cell depends on which corner is the first, by up to 1e-6 of the mass.
    sampling = "average" if mesh.extent.grid else "centre"
    if kind == "gaussian":
        covariance = _covariance(random, dimension)
        return Gaussian(_point(random, dimension, 0.8), covariance, sampling=sampling, truncate=0.99)
    if kind == "mixture":
        weights = map(float, random.uniform(0.5, 2, 3))
        return Mixture(
            tuple(Component(_point(random, dimension, 0.8), _covariance(random, dimension), w) for w in weights),
            sampling=sampling,
            truncate=0.99,
        )
    if kind == "uniform":
        return Uniform(mesh.lower, mesh.upper)
    if kind == "block":
        middle, half = np.array(_point(random, dimension, 0.7)), random.uniform(0.7, 1.2)
        return Uniform(tuple(map(float, middle - half)), tuple(map(float, middle + half)))
    if kind == "spike":
        return Spike(_point(random, dimension, 1.0))
    values = random.random(mesh.extent.cells) ** 4
    return ArrayDensity(values * (random.random(len(values)) < 0.5) if kind == "holes" else values, 1.0)


def _energies(random: Generator, dimension: int) -> tuple[Any, ...]:
    kind = random.choice(["entropy", "porous", "power", "fast"])
    exponent = float(random.uniform(1.5, 4.0))
    parts: list[Any] = [
        {
            "entropy": Entropy(float(10.0 ** random.uniform(-2, 0.3))),
            "porous": PorousMedium(exponent, float(random.uniform(0.3, 2.0))),
            "power": PowerLaw(exponent, float(random.uniform(0.3, 2.0))),
            "fast": PorousMedium(float(random.uniform(max(1 - 1 / dimension, 0.4), 0.9)), 0.5),
        }[kind]
    ]
    if random.random() < 0.6:
        parts.append(Potential(_potential(random, dimension)))
    if random.random() < 0.4:
        parts.append(Interaction(str(random.choice(_KERNELS)).format("x")))
    return tuple(parts)


_OPTIONS: dict[type, tuple[dict[str, Any], ...]] = {
    ImplicitEuler: ({}, {"solver": Krylov()}),
    CrankNicolson: ({}, {"solver": Krylov()}),
    TrBdf2: ({}, {"solver": Krylov()}),
    Muscl: ({}, {"limiter": "van-leer"}, {"limiter": "minmod"}, {"limiter": "superbee"}),
    SplitCrankNicolson: ({}, {"richardson": True}),
    LJKO: ({}, {"mobility": "upwind"}, {"solver": Multigrid()}),
    GradientImplicitEuler: ({}, {"mobility": "upwind"}),
    Midpoint: ({}, {"mobility": "centred"}),
    JKO: ({"accuracy": 1e-3}, {"intervals": 1}, {"intervals": 2}),
}
"""Options that are drawn; a stepper that is not here runs by its defaults."""


def _stepper(random: Generator, stepper: Any) -> Any:
    options = _OPTIONS.get(stepper, ({},))
    return stepper(**options[random.integers(0, len(options))])


def _times(random: Generator) -> Times:
    step, count = float(10.0 ** random.uniform(-2.5, 0.7)), int(random.integers(3, 7))
    if random.random() < 0.1:
        return Times(3 * step, Adaptive(step / 2, 10.0 ** random.uniform(-2, -1.3)))
    return Times(count * step, step)


def _flow(random: Generator, stepper: Any, mesh: MeshDescription) -> FokkerPlanckFlow | WassersteinFlow:
    dimension = mesh.extent.dimension
    if stepper in get_args(GradientStepper):
        return WassersteinFlow(_energies(random, dimension), _stepper(random, stepper))
    made = _stepper(random, stepper)
    epsilon = 0.0 if random.random() < 0.1 else float(10.0 ** random.uniform(-1.3, 0.3))
    fluxes = [flux() for flux in get_args(Flux) if epsilon > 0 or not flux.requires_diffusion]
    fluxes = [flux for flux in fluxes if flux.monotone or not made.requires_monotone_flux]
    fluxes = [flux for flux in fluxes if flux.max_peclet == np.inf or epsilon > 0.3]
    flux = fluxes[random.integers(0, len(fluxes))] if made.uses_flux else ScharfetterGummel()
    bounded = not flux.monotone or flux.max_peclet < np.inf  # defined up to a Peclet number that a drift may outgrow
    drift = _drift(random, dimension, made.requires_steady_drift or bounded)
    flow = FokkerPlanckFlow(epsilon, **drift, flux=flux, stepper=made)
    # Without an M-matrix a step may amplify round-off without bound: no two runs need agree.
    return flow if flow.problem(mesh.build(), {}).monotone else replace(flow, flux=ScharfetterGummel())


@dataclass(frozen=True)
class Pair:
    """A case and a symmetry of its equation."""

    case: Case
    symmetry: Symmetry

    @property
    def linear(self) -> bool:
        """Whether the flow is linear in the density."""
        return isinstance(self.case.flow, FokkerPlanckFlow)


@st.composite
def pairs(draw: Any, stepper: Any, name: str) -> Pair:
    """Pairs for a stepper and a symmetry, in one to three dimensions; in two, also on triangles and Voronoi cells."""
    # Numbers of their own would be small ones in the few examples of each kind, and the cases too simple.
    salt = draw(st.integers(0, 2**63 - 1))
    random = np.random.default_rng((salt, crc32(f"{stepper.__qualname__} {name}".encode())))
    dimension = int(random.choice([2, 3] if name == "permutation" else [1, 2, 2, 3]))
    grid = stepper.kind in ORDERED or dimension != 2 or random.random() < 0.4
    mesh = _mesh(random, dimension) if grid else _cells(random)
    try:
        case = Case(mesh, _flow(random, stepper, mesh), _initial(random, mesh), _times(random))
        case.prepare()
    except CaseError:  # such as a density that is too narrow for the cells, or a limiter for grids only
        reject()
    return Pair(case, SYMMETRIES[name](random, dimension))


COMBINATIONS = [
    (stepper, name)
    for stepper in STEPPERS
    for name in SYMMETRIES
    if (stepper.kind, name) not in {(kind, "permutation") for kind in ORDERED}
]
"""Every stepper with every symmetry that it has."""
