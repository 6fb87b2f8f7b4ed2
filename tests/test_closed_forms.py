"""Every closed form of the union `Exact`: runs converge to it, and it accepts no other equation than its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.energies import EnergyKind, EnergyTerm, Entropy, Interaction, PorousMedium, Potential
from fvflow.errors import CaseError, NumericsError
from fvflow.exact import (
    AffineGeodesic,
    AtEquilibrium,
    Barenblatt,
    ClosedForm,
    Exact,
    FromExact,
    GaussianBridge,
    GaussianGeodesic,
    GaussianJKO,
    GaussianSolution,
    Gibbs,
    HeatBall,
    HeatBox,
    LogGas,
    MeanFieldGibbs,
    Quantiles,
    SecondMoment,
    TiltedBox,
)
from fvflow.fields import DensityKind, Gaussian, Uniform
from fvflow.flows import BaseFlow, BridgeFlow, FokkerPlanckFlow, StationaryFlow, TransportFlow, WassersteinFlow
from fvflow.fluxes import Centred
from fvflow.mesh import Box, Mesh, MeshDescription
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.steppers import JKO, LJKO, Midpoint, TrBdf2
from fvflow.times import Times
from fvflow.transport import PrimalDual
from tests.contracts import check_exact
from tests.scenes import final


class Disc(MeshDescription):
    """A disc of radius 1 in rings of isosceles trapezoids about a regular polygon, whose centroids are admissible."""

    kind = "disc"

    def __init__(self, rings: int) -> None:
        self.rings = rings

    def build(self) -> Mesh:
        """The mesh."""
        rings, sectors = self.rings, 4 * self.rings
        angle = 2 * np.pi * np.arange(sectors) / sectors
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        points = np.concatenate([circle * (ring + 1) / rings for ring in range(rings)])
        inner = np.arange((rings - 1) * sectors)
        ahead = inner - inner % sectors + (inner + 1) % sectors
        cells = np.full((len(inner) + 1, sectors), -1)
        cells[0] = np.arange(sectors)
        cells[1:, :4] = np.stack([inner, inner + sectors, ahead + sectors, ahead], axis=1)
        return mesh_from_cells(points, cells, centroids=True)


@dataclass(frozen=True)
class Example:
    """Runs to compare with a closed form; cells and steps of each refinement, and the order of the method."""

    exact: ClosedForm
    mesh: Callable[[int], MeshDescription]
    flow: Callable[[int], BaseFlow]
    initial: DensityKind
    cells: Sequence[int]
    order: float
    steps: Sequence[Times | None] = (None, None, None)

    def cases(self) -> list[Case]:
        """The case of each refinement."""
        pairs = zip(self.cells, self.steps, strict=True)
        return [Case(self.mesh(n), self.flow(n), self.initial, times, exact=self.exact) for n, times in pairs]


def box(lower: float, upper: float, dimension: int = 1) -> Callable[[int], MeshDescription]:
    return lambda n: Box((lower,) * dimension, (upper,) * dimension, (n,) * dimension)


def halved(end: float, step: float) -> tuple[Times, ...]:
    return tuple(Times(end, step / 2**level) for level in range(3))


def transport(target: DensityKind) -> Callable[[int], BaseFlow]:
    return lambda n: TransportFlow(target, n // 4, PrimalDual(tolerance=1e-6))


LINE = box(-5.0, 5.0)
START = Gaussian((0.8,), ((0.5,),))
ENTROPY = Entropy(0.8)
LEFT, RIGHT = Gaussian((-0.6,), ((1.0,),)), Gaussian((0.7,), ((1.5,),))
SEVENTH = 2 ** (1 / 7) - 1
HEAT = FokkerPlanckFlow(0.1, stepper=TrBdf2())
EXAMPLES: dict[type, list[Example]] = {
    GaussianSolution: [
        Example(
            GaussianSolution(),
            LINE,
            lambda n: FokkerPlanckFlow(0.8, "0.5*x**2", stepper=TrBdf2()),
            START,
            (50, 100, 200),
            2,
            halved(0.4, 0.04),
        ),
        Example(
            GaussianSolution(),
            LINE,
            lambda n: WassersteinFlow((ENTROPY, Interaction("0.2*r**2")), Midpoint()),
            START,
            (50, 100, 200),
            2,
            halved(0.2, 0.04),
        ),
    ],
    GaussianJKO: [
        Example(
            GaussianJKO(),
            LINE,
            lambda n: WassersteinFlow((ENTROPY, Potential("0.5*x**2")), JKO()),
            START,
            (50, 100, 200),
            2,
            halved(0.1, 0.02),
        )
    ],
    HeatBox: [
        Example(HeatBox((1, 2)), box(0.0, 1.0, 2), lambda n: HEAT, FromExact(), (8, 16, 32), 2, halved(0.2, 0.05)),
    ],
    HeatBall: [Example(HeatBall(1.0, 1), Disc, lambda n: HEAT, FromExact(2.0), (16, 24, 32), 2, halved(0.4, 0.05))],
    Gibbs: [
        Example(
            Gibbs(),
            box(-2.0, 2.0),
            lambda n: StationaryFlow(0.8, "0.5*x**2 + sin(x)", flux=Centred()),
            Uniform(),
            (25, 50, 100),
            2,
        )
    ],
    LogGas: [
        Example(
            LogGas(),
            box(-2.0, 2.0),
            lambda n: WassersteinFlow((Entropy(1.0 / n), Potential("x**2/2"), Interaction("-log(r)"))),
            Gaussian((0.1,), ((0.3,),)),
            (50, 100, 200),
            1,
            (Times(8.0, 0.1),) * 3,
        ),
    ],
    MeanFieldGibbs: [  # the mean relaxes like (1 + tau)^-n = 2^-n/7
        Example(
            MeanFieldGibbs(),
            box(-4.0, 4.0),
            lambda n: WassersteinFlow((ENTROPY, Potential("x**2/2"), Interaction("r**2/2"))),
            Gaussian((0.8,), ((0.4,),)),
            (50, 100, 200),
            1,
            tuple(Times(SEVENTH * (21 + 7 * level), SEVENTH) for level in range(3)),
        ),
    ],
    SecondMoment: [  # limiters and the pole of the kernel cost half an order
        Example(
            SecondMoment(),
            box(-8.0, 8.0),
            lambda n: WassersteinFlow((Entropy(1.0), Interaction("-log(r)/2")), Midpoint()),
            Gaussian((0.5,), ((0.4,),)),
            (80, 160, 320),
            1.5,
            (Times(0.4, 0.01),) * 3,
        )
    ],
    Barenblatt: [
        Example(
            Barenblatt(0.2),
            box(-3.0, 3.0),
            lambda n: WassersteinFlow((PorousMedium(1.5),), LJKO(mobility="upwind")),
            FromExact(),
            (80, 160, 320),
            1,
            halved(0.1, 0.01),
        )
    ],
    TiltedBox: [
        Example(
            TiltedBox(),
            box(0.0, 1.0),
            lambda n: FokkerPlanckFlow(1.0, "-2*x", stepper=TrBdf2()),
            FromExact(),
            (20, 40, 80),
            2,
            halved(0.1, 0.02),
        )
    ],
    GaussianGeodesic: [Example(GaussianGeodesic(), box(-7.0, 7.0), transport(RIGHT), LEFT, (56, 72, 96), 2)],
    AffineGeodesic: [
        Example(AffineGeodesic((1.0,), (1.2,)), box(-7.0, 7.0), transport(FromExact()), LEFT, (56, 72, 96), 2)
    ],
    GaussianBridge: [
        Example(
            GaussianBridge(),
            box(-5.0, 5.0),
            lambda n: BridgeFlow(0.5, "0.1*x**2", target=Gaussian((0.3,), ((0.6,),))),
            Gaussian((-0.2,), ((0.5,),)),
            (50, 100, 200),
            2,
            (Times(1.0, 0.5, 0.5),) * 3,
        )
    ],
    Quantiles: [  # whose reference is piecewise constant too, so that the error is of first order
        Example(Quantiles(), box(-7.0, 7.0), lambda n: TransportFlow(RIGHT, 8, PrimalDual()), LEFT, (192, 256, 384), 1)
    ],
}
CLOSED_FORMS = [pytest.param(kind, id=kind.kind) for kind in get_args(Exact)]


@pytest.mark.parametrize("kind", CLOSED_FORMS)
def test_closed_form_keeps_the_contract(kind):
    for example in EXAMPLES[kind]:
        check_exact(example.exact, example.cases(), 1 / np.array(example.cells), example.order)


class Mine(EnergyKind):
    """An energy that nobody knows."""

    kind = "mine"
    strictly_convex = True

    def on(self, mesh, parameters):
        return MyTerm()


class MyTerm(EnergyTerm):
    def value(self, density):
        return density * np.log(density)

    def first(self, density):
        return np.log(density) + 1

    def second(self, density):
        return 1 / density


@pytest.mark.parametrize("kind", CLOSED_FORMS)
def test_a_case_with_an_unknown_energy_is_refused(kind):
    example = EXAMPLES[kind][0]
    flow = WassersteinFlow((ENTROPY, Potential("0.5*x**2"), Mine()), LJKO())
    case = Case(example.mesh(example.cells[0]), flow, example.initial, Times(0.1, 0.05), exact=example.exact)
    with pytest.raises(CaseError, match=f"exact.*{kind.kind}"):
        case.prepare()


def test_an_unknown_energy_is_named_in_the_refusal():
    flow = WassersteinFlow((ENTROPY, Mine()), LJKO())
    case = Case(LINE(20), flow, START, Times(0.1, 0.05), exact=GaussianSolution())
    with pytest.raises(CaseError, match="and this case has energy mine; leave out exact, or what it was not"):
        case.prepare()
    with pytest.raises(CaseError, match="initial: gibbs needs epsilon"):
        replace(case, exact=None, initial=AtEquilibrium()).prepare()


def test_a_closed_form_derived_for_nothing_refuses_every_equation():
    class Unknown(ClosedForm):
        kind = "unknown"

    case = Case(LINE(20), FokkerPlanckFlow(0.8), START, Times(0.1, 0.05), exact=Unknown())
    with pytest.raises(CaseError, match="exact unknown was derived for nothing, and this case has linear diffusion"):
        case.prepare()


def test_a_gas_that_the_mesh_does_not_hold_is_refused():
    flow = WassersteinFlow((Entropy(1e-2), Potential("x**2/2"), Interaction("-log(r)")))
    cut = replace(START, truncate=0.5)
    Case(box(-1.5, 1.5)(40), flow, cut, Times(0.1, 0.1), exact=LogGas()).prepare()
    with pytest.raises(CaseError, match=r"fills a radius of 1\.41 about the origin"):
        Case(box(-1.0, 1.0)(40), flow, cut, Times(0.1, 0.1), exact=LogGas()).prepare()


KELLER_SEGEL = Case.read("cases/keller-segel-subcritical.yaml").replace({"mesh.cells": [32, 32], "checks": {}})


def test_the_second_moment_is_for_less_than_the_critical_mass():
    heavy = KELLER_SEGEL.replace({"initial.mass": 26.0})
    with pytest.raises(CaseError, match=r"less than the critical mass 25\.13[0-9]*, got 26: solutions blow up"):
        heavy.prepare()


def test_the_second_moment_of_one_cell_is_none():
    at_one = KELLER_SEGEL.replace({"initial": {"kind": "spike", "at": [0.25, 0.25], "cell": True, "mass": 5.0}})
    with pytest.raises(CaseError, match="second moment above 0, got a density in one cell: start wider"):
        at_one.prepare()


def test_the_second_moment_is_for_logarithms():
    other = KELLER_SEGEL.replace({"flow.energy.1.kernel": "r/4"})
    with pytest.raises(CaseError, match=r"second-moment needs epsilon > 0 and the kernel c\*log\(r\)"):
        other.prepare()


def test_the_second_moment_ends_at_the_walls():
    near = KELLER_SEGEL.replace({"mesh.lower": [-3.5, -3.5], "mesh.upper": [3.5, 3.5], "initial.mass": 5.0})
    with pytest.raises(NumericsError, match=r"mass has reached the walls at t = 0\.3, where .* law of the whole space"):
        final(near.replace({"times": {"end": 0.3, "step": 0.05}}))


def test_a_check_of_another_error_than_that_of_the_closed_form_is_refused():
    with pytest.raises(CaseError, match="error_l1: is no error of exact second-moment; it gives second_moment_error"):
        KELLER_SEGEL.replace({"checks": {"error_l1": 0.1}})
