"""The sources of the methods, by name: those that the docstrings of their modules give."""

from __future__ import annotations

from dataclasses import dataclass

_BOOK, _ARTICLE, _MISC = "book", "article", "misc"


@dataclass(frozen=True)
class Source:
    """A book, or an article in a journal or in proceedings."""

    key: str
    """Its name in BibTeX."""
    authors: tuple[str, ...]
    """Surnames, as in the docstrings."""
    title: str
    year: int
    journal: str = ""
    """The journal or the proceedings; empty for a book."""
    volume: str = ""

    @property
    def text(self) -> str:
        """Authors, title, journal, volume (year)."""
        where = f", {self.journal} {self.volume}".rstrip() if self.journal else ""
        return f"{', '.join(self.authors)}, {self.title}{where} ({self.year})"

    @property
    def bibtex(self) -> str:
        """Its entry."""
        entry = _ARTICLE if self.journal else _BOOK
        fields = {"author": " and ".join(f"{{{author}}}" for author in self.authors), "title": f"{{{self.title}}}"}
        fields |= {"journal": self.journal, "volume": self.volume, "year": str(self.year)}
        return _entry(entry, self.key, fields)


def software(version: str) -> str:
    """The entry of this program."""
    title = "{fvflow: finite volumes for Fokker-Planck equations, Wasserstein gradient flows and optimal transport}"
    return _entry(_MISC, "fvflow", {"title": title, "note": f"version {version}"})


def _entry(entry: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{entry}{{{key},", *lines, "}"])


_LISTED = """
agueh2011: Agueh, Carlier | Barycenters in the Wasserstein space | SIAM J. Math. Anal. | 43
alfa2002: Alfa, Xue, Ye | Accurate computation of the smallest eigenvalue of a diagonally dominant M-matrix | Math. Comp. | 71
alvarez2016: Alvarez-Esteban, del Barrio, Cuesta-Albertos, Matran | A fixed-point approach to barycenters in Wasserstein space | J. Math. Anal. Appl. | 441
bailo2020: Bailo, Carrillo, Hu | Fully discrete positivity-preserving and energy-dissipating schemes for aggregation-diffusion equations | Commun. Math. Sci. | 18
balay2022: Balay et al. | PETSc/TAO users manual | ANL-21/39 |
bank1985: Bank et al. | Transient simulation of silicon devices and circuits | IEEE Trans. CAD | 4
bardi1991: Bardi, Osher | The nonconvex multidimensional Riemann problem for Hamilton-Jacobi equations | SIAM J. Math. Anal. | 22
benamou2000: Benamou, Brenier | A computational fluid mechanics solution to the Monge-Kantorovich mass transfer problem | Numer. Math. | 84
blanchet2006: Blanchet, Dolbeault, Perthame | Two-dimensional Keller-Segel model | Electron. J. Differ. Equ. |
bunne2023: Bunne, Hsieh, Cuturi, Krause | The Schroedinger bridge between Gaussian measures has a closed form | AISTATS |
burchard2003: Burchard, Deleersnijder, Meister | A high-order conservative Patankar-type discretisation | Appl. Numer. Math. | 47
cances2020: Cances, Gallouet, Todeschi | A variational finite volume scheme for Wasserstein gradient flows | Numer. Math. | 146
carrillo2003: Carrillo, McCann, Villani | Kinetic equilibration rates for granular media and related equations | Rev. Mat. Iberoamericana | 19
carslaw1959: Carslaw, Jaeger | Conduction of Heat in Solids | |
chatard2011: Chatard | Asymptotic behavior of the Scharfetter-Gummel scheme | FVCA |
collet2013: Collet, Martinez, San Martin | Quasi-Stationary Distributions | |
crandall1984: Crandall, Lions | Two approximations of solutions of Hamilton-Jacobi equations | Math. Comp. | 43
dawson1983: Dawson | Critical dynamics and fluctuations for a mean-field model of cooperative behavior | J. Stat. Phys. | 31
e2006: E, Vanden-Eijnden | Towards a theory of transition paths | J. Stat. Phys. | 123
eymard2000: Eymard, Gallouet, Herbin | Finite Volume Methods | |
falgout2002: Falgout, Yang | hypre: a library of high performance preconditioners | Computational Science, ICCS 2002 |
fehrenbach2014: Fehrenbach, Mirebeau | Sparse non-negative stencils for anisotropic diffusion | J. Math. Imaging Vis. | 49
fekete2022: Fekete, Conde, Shadid | Embedded pairs for optimal explicit strong stability preserving Runge-Kutta methods | J. Comput. Appl. Math. | 412
fox1988: Fox, Glynn | Computing Poisson probabilities | Comm. ACM | 31
gallouet2022: Gallouet, Natale, Todeschi | From geodesic extrapolation to a variational BDF2 scheme for Wasserstein gradient flows | preprint |
gardiner2009: Gardiner | Stochastic Methods | |
george1973: George | Nested dissection of a regular finite element mesh | SIAM J. Numer. Anal. | 10
gonzalez1996: Gonzalez | Time integration and discrete Hamiltonian systems | J. Nonlinear Sci. | 6
grassmann1985: Grassmann, Taksar, Heyman | Regenerative analysis and steady state distributions for Markov chains | Oper. Res. | 33
hairer1993: Hairer, Norsett, Wanner | Solving Ordinary Differential Equations I | |
jensen1953: Jensen | Markoff chains as an aid in the study of Markoff processes | Skand. Aktuarietidskr. | 36
kloeden1992: Kloeden, Platen | Numerical Solution of Stochastic Differential Equations | |
knyazev2001: Knyazev | Toward the optimal preconditioned eigensolver | SIAM J. Sci. Comput. | 23
kraaijevanger1991: Kraaijevanger | Contractivity of Runge-Kutta methods | BIT | 31
leonard2014: Leonard | A survey of the Schroedinger problem | Discrete Contin. Dyn. Syst. | 34
lie2013: Lie, Fackeldey, Weber | A square root approximation of transition rates for a Markov state model | SIAM J. Matrix Anal. Appl. | 34
mallasto2022: Mallasto, Gerolin, Minh | Entropy-regularized 2-Wasserstein distance between Gaussian measures | Inf. Geom. | 5
mccann1997: McCann | A convexity principle for interacting gases | Adv. Math. | 128
mehrotra1992: Mehrotra | On the implementation of a primal-dual interior point method | SIAM J. Optim. | 2
metzner2009: Metzner, Schuette, Vanden-Eijnden | Transition path theory for Markov jump processes | Multiscale Model. Simul. | 7
natale2021: Natale, Todeschi | Computation of optimal transport with finite volumes | ESAIM: M2AN | 55
osher1988: Osher, Sethian | Fronts propagating with curvature-dependent speed | J. Comput. Phys. | 79
papadakis2014: Papadakis, Peyre, Oudet | Optimal transport with proximal splitting | SIAM J. Imaging Sci. | 7
pavliotis2014: Pavliotis | Stochastic Processes and Applications | |
richardson1927: Richardson | The deferred approach to the limit | Phil. Trans. R. Soc. A | 226
roache1994: Roache | Perspective: a method for uniform reporting of grid refinement studies | J. Fluids Eng. | 116
rouy1992: Rouy, Tourin | A viscosity solutions approach to shape-from-shading | SIAM J. Numer. Anal. | 29
ruge1987: Ruge, Stueben | Algebraic multigrid | |
ruschendorf1995: Ruschendorf | Convergence of the iterative proportional fitting procedure | Ann. Statist. | 23
saff1997: Saff, Totik | Logarithmic Potentials with External Fields | |
scharfetter1969: Scharfetter, Gummel | Large-signal analysis of a silicon Read diode oscillator | IEEE Trans. Electron Devices | 16
schmitzer2019: Schmitzer | Stabilized sparse scaling algorithms for entropy regularized transport problems | SIAM J. Sci. Comput. | 41
strang1968: Strang | On the construction and comparison of difference schemes | SIAM J. Numer. Anal. | 5
takatsu2011: Takatsu | Wasserstein geometry of Gaussian measures | Osaka J. Math. | 48
talezer1984: Tal-Ezer, Kosloff | An accurate and efficient scheme for propagating the time dependent Schroedinger equation | J. Chem. Phys. | 81
trottenberg2001: Trottenberg, Oosterlee, Schueller | Multigrid | |
vanleer1979: Van Leer | Towards the ultimate conservative difference scheme V | J. Comput. Phys. | 32
vanloan1978: Van Loan | Computing integrals involving the matrix exponential | IEEE Trans. Automat. Control | 23
vazquez2007: Vazquez | The Porous Medium Equation | |
vorst1992: van der Vorst | Bi-CGSTAB: a fast and smoothly converging variant of Bi-CG for the solution of nonsymmetric linear systems | SIAM J. Sci. Stat. Comput. | 13
yan2009: Yan, Levy, Liu, Sun, Wang | Isotropic remeshing with fast and exact computation of restricted Voronoi diagram | Comput. Graph. Forum | 28
yanenko1971: Yanenko | The Method of Fractional Steps | |
zhang2010: Zhang, Shu | On maximum-principle-satisfying high order schemes for scalar conservation laws | J. Comput. Phys. | 229
"""  # noqa: E501


def _sources() -> dict[str, Source]:
    found = {}
    for line in _LISTED.strip().splitlines():
        key, _, rest = line.partition(": ")
        authors, title, journal, volume = (part.strip() for part in rest.split("|"))
        found[key] = Source(key, tuple(authors.split(", ")), title, int(key[-4:]), journal, volume)
    return found


SOURCES = _sources()
"""Every source by its key, which ends in the year."""
