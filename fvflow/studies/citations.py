"""Which sources the parts of a case come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fvflow.studies.bibliography import SOURCES, Source, software
from fvflow.version import __version__

if TYPE_CHECKING:
    from fvflow.case import Case

_BIDIAGONAL = "grassmann1985"
KINDS: dict[str, tuple[str, ...]] = {
    # meshes: two-point fluxes on admissible meshes; cells cut to the domain
    **dict.fromkeys(("Box", "Graded", "Radial", "FiPyMesh"), ("eymard2000",)),
    **dict.fromkeys(("Gmsh", "Meshio", "Ugrid"), ("eymard2000", "yan2009")),
    "Voronoi": ("eymard2000",),
    # flows
    "FokkerPlanckFlow": (),
    "BackwardFlow": (),
    "StationaryFlow": (_BIDIAGONAL,),
    "SpectrumFlow": ("pavliotis2014", "knyazev2001"),
    "FirstPassageFlow": ("gardiner2009", "alfa2002"),
    "CommittorFlow": ("e2006", "metzner2009"),
    "QuasiStationaryFlow": ("collet2013",),
    "WassersteinFlow": (),
    "TransportFlow": ("benamou2000", "schmitzer2019"),
    "BridgeFlow": ("leonard2014", "ruschendorf1995"),
    "BarycentreFlow": ("agueh2011", "alvarez2016"),
    "HamiltonJacobiFlow": ("crandall1984",),
    "ParticleFlow": (),
    "FlowMapFlow": ("hairer1993",),
    # fluxes
    "Upwind": ("chatard2011",),
    "Centred": ("chatard2011",),
    "ScharfetterGummel": ("scharfetter1969", "chatard2011"),
    "SquareRoot": ("lie2013", "chatard2011"),
    # steppers of linear equations
    "ImplicitEuler": (),
    "CrankNicolson": (),
    "TrBdf2": ("bank1985",),
    "SplitEuler": ("yanenko1971", _BIDIAGONAL),
    "SplitCrankNicolson": ("strang1968", "yanenko1971", _BIDIAGONAL),
    "Chebyshev": ("talezer1984",),
    "Uniformisation": ("jensen1953", "fox1988"),
    "Muscl": ("vanleer1979", "kraaijevanger1991", "fekete2022", "zhang2010"),
    # steppers of gradient flows
    "LJKO": ("cances2020", "mehrotra1992"),
    "JKO": ("benamou2000", "mehrotra1992"),
    "GradientImplicitEuler": ("bailo2020",),
    "Midpoint": ("gonzalez1996", "burchard2003"),
    "EVBDF2": ("gallouet2022",),
    # steppers of particles
    "EulerMaruyama": ("kloeden1992",),
    "StochasticHeun": ("kloeden1992",),
    "Jump": (),
    # draws of a family
    "RandomMixture": (),
    "RandomField": (),
    "RandomPotential": (),
    # solvers; `Auto` is what it chooses
    "Auto": (),
    "Tridiagonal": (_BIDIAGONAL,),
    "Direct": ("george1973",),
    "Krylov": ("vorst1992", "trottenberg2001", "ruge1987"),
    "Petsc": ("balay2022", "falgout2002"),
    "Multigrid": ("ruge1987",),
    "PrimalDual": ("papadakis2014",),
    "InteriorPoint": ("natale2021",),
    # Hamiltonians
    "QuadraticHamiltonian": ("osher1988", "rouy1992"),
    "PowerHamiltonian": ("bardi1991",),
    # energies
    "Entropy": (),
    "Potential": (),
    "PorousMedium": ("mccann1997",),
    "PowerLaw": (),
    "Interaction": ("carrillo2003",),
    # closed forms
    "GaussianSolution": ("vanloan1978",),
    "GaussianJKO": (),
    "HeatBox": (),
    "HeatBall": ("carslaw1959",),
    "Gibbs": (),
    "LogGas": ("saff1997",),
    "MeanFieldGibbs": ("dawson1983",),
    "SecondMoment": ("blanchet2006",),
    "Barenblatt": ("vazquez2007",),
    "TiltedBox": ("cances2020",),
    "GaussianGeodesic": ("takatsu2011",),
    "GaussianBridge": ("bunne2023", "mallasto2022"),
    "AffineGeodesic": (),
    "Quantiles": ("mccann1997",),
    # densities, tables, points, walls and times: nothing but definitions
    **dict.fromkeys(
        ("Gaussian", "Mixture", "ExpressionDensity", "Uniform", "Spike", "FromFile", "TableDensity", "Samples"), ()
    ),
    **dict.fromkeys(("FromExact", "AtEquilibrium", "Table", "GridPoints", "FilePoints", "DrawnPoints"), ()),
    **dict.fromkeys(("NoFlux", "AbsorbingWall", "PartialWall", "GeometricSaves"), ()),
    # parts without a kind
    "Adaptive": ("hairer1993",),
    "Integrator": ("hairer1993",),
}
"""The sources of each class of a part of a case, by the name of the class."""
_FULL_TENSOR = ("fehrenbach2014",)
_ERROR_ESTIMATE = ("richardson1927",)


@dataclass(frozen=True)
class Citations:
    """The sources of a case."""

    parts: Mapping[str, tuple[Source, ...]]
    """Those of each part, by its name, such as "stepper ljko"; empty where there is nothing to cite."""
    unknown: tuple[str, ...]
    """Parts of the user's own, whose sources are not known."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Each source once, by author."""
        found = {source.key: source for sources in self.parts.values() for source in sources}
        return tuple(found[key] for key in sorted(found))

    @property
    def text(self) -> str:
        """A line for each part that has sources."""
        return "\n".join(
            f"{part}: {'; '.join(source.text for source in sources)}" for part, sources in self.parts.items() if sources
        )

    @property
    def bibtex(self) -> str:
        """The entries, that of fvflow first."""
        return "\n\n".join([software(__version__), *(source.bibtex for source in self.sources)]) + "\n"


def cite(case: Case) -> Citations:
    """The sources of the methods that a case uses: its flow, flux, stepper, solver, energies, closed form and mesh.

    A solver that is chosen by the mesh is the one that is chosen, where the size of the mesh is known before it is
    built.
    """
    parts: dict[str, tuple[Source, ...]] = {}
    unknown = []
    for place, part in _parts(case, ""):
        chosen = _chosen(case, part)
        name = f"{place} {getattr(chosen, 'kind', '')}".rstrip()
        keys = KINDS.get(type(chosen).__name__)
        if keys is None and hasattr(chosen, "kind"):
            unknown.append(name)
        elif keys is not None:
            parts[name] = tuple(SOURCES[key] for key in keys)
    if getattr(case.flow, "full", False):
        parts["flow.diffusion, a full tensor"] = tuple(SOURCES[key] for key in _FULL_TENSOR)
    if case.output.error_estimate:
        parts["output.error-estimate"] = tuple(SOURCES[key] for key in _ERROR_ESTIMATE)
    return Citations(parts, tuple(unknown))


def _parts(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The dataclasses in a case, each with its path."""
    if dataclasses.is_dataclass(value):
        if place:
            yield place, value
        for item in dataclasses.fields(value):
            if item.init:
                yield from _parts(getattr(value, item.name), f"{place}.{item.name}".removeprefix("."))
    elif isinstance(value, tuple):
        for index, entry in enumerate(value):
            yield from _parts(entry, f"{place}.{index}")
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _parts(entry, f"{place}.{key}")


def _chosen(case: Case, part: Any) -> Any:
    """The solver that a solver stands for on the mesh of a case; any other part itself."""
    extent = case.mesh.extent
    name = "resolve_symmetric" if case.flow.descends_in_w2 else "resolve"
    if extent is None or not hasattr(part, name) or not hasattr(part, "reason"):
        return part
    return getattr(part, name)(extent)
