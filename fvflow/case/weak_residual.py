"""The weak residual of a stored result, and the mass balance of sets of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fvflow.case.build import openings_of, problem_of
from fvflow.case.checks import flows_that
from fvflow.case.core import Case
from fvflow.case.frames_on_mesh import mesh_of
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Expression
from fvflow.flows import BaseFlow
from fvflow.linalg import divergence
from fvflow.mesh import Array, Mesh, Openings
from fvflow.weak_form import ORDERS, Bank, Moments, functions_of, random_sets

if TYPE_CHECKING:
    import xarray

_SETS = 50  # random sets of cells
_SAME = 1e-6  # difference of a coordinate from that of the mesh, relative to a cell


@dataclass(frozen=True, eq=False)
class WeakResidual:
    """How far int phi rho is from what the equation says, by functions phi and by rules of integration in time.

    All is relative to the mass times max |phi|. `flux_mean` takes the mean fluxes that the run has stored, and so
    tests the continuity equation, to round-off. The others take the rate of change that the discretisation in space
    gives for each saved density: `trapezoid` is of order 2 in the time between saves, `simpson` of order 4, down to the
    errors of the run itself.
    """

    names: tuple[str, ...]
    """The functions, and sets of cells by the text of their condition."""
    change: Array
    """Largest change of int phi rho from the first frame to any later one (function,)."""
    residual: Mapping[str, Array]
    """Largest residual of the same, by rule (function,)."""
    order: Mapping[str, Array]
    """Observed order in the time between saves, by rule (function,); nan where it is not known."""
    by_interval: Mapping[str, Array]
    """The residual over each interval between saves, by rule (interval, function); for simpson over two at a time."""
    balance: float
    """Largest residual of the mass of 50 random sets of cells by mean fluxes; nan without these."""

    @property
    def json(self) -> dict[str, Any]:
        """All but `by_interval`, as plain values."""
        rows = {
            name: {"change": float(self.change[at]), **{rule: float(each[at]) for rule, each in self.residual.items()}}
            for at, name in enumerate(self.names)
        }
        worst = {rule: float(each.max()) for rule, each in self.residual.items()}
        return {"worst": worst, "balance_of_random_sets": self.balance, "functions": rows}

    def rows(self) -> list[tuple[str, str]]:
        """A table: for each function the change, and the residuals with their orders."""
        told = (rule if rule == "flux_mean" else f"{rule} (order)" for rule in self.residual)
        heading = "".join(f"{text:>18}" for text in ("change", *told))
        rows = [("phi", heading), *((name, self._row(at)) for at, name in enumerate(self.names))]
        sets = f"{_SETS} random sets of cells", f"{self.balance:36.2e}"
        return rows if np.isnan(self.balance) else [*rows, sets]

    def _row(self, at: int) -> str:
        cells = [f"{self.change[at]:18.2e}"]
        for rule, found in self.residual.items():
            order = self.order[rule][at]
            cells.append(f"{found[at]:.2e}{'' if np.isnan(order) else f' ({order:.1f})'}".rjust(18))
        return "".join(cells)


def residual(
    ds: xarray.Dataset,
    *,
    case: Case | None = None,
    functions: Mapping[str, str | float] | None = None,
    where: Sequence[str] = (),
) -> WeakResidual:
    """The weak form of the equation, for a result as `Case.run` or `fvflow.read` return it, or for other densities.

    `functions` of x, y, z by name take the place of a bank of polynomials, cosines and, where mass leaves, bumps;
    `where` are conditions for sets of cells, whose mass balance is told. With a `case`, the dataset may come from
    elsewhere, as from a neural network: rho(time, [z, y,] x) on the mesh of the case. Raises CaseError for a dataset
    without case or with another mesh, NumericsError where the rate of change is not defined.

    >>> run = Case.parse("mesh: {kind: box, lower: [-6], upper: [6], cells: [60]}\\n"
    ...     "flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2}\\n"
    ...     "initial: {kind: gaussian, mean: [1], covariance: [[0.5]]}\\n"
    ...     "times: {end: 1, step: 0.1}\\noutput: {fluxes: true}").run()
    >>> found = residual(run)
    >>> bool(found.residual["flux_mean"].max() < 1e-14), bool(found.balance < 1e-14)
    (True, True)
    """
    if functions is not None and not isinstance(functions, Mapping):
        raise CaseError(f"functions is {functions!r}; give them by name, such as {{'slope': 'x'}}")
    if isinstance(where, str) or not isinstance(where, Sequence):
        raise CaseError(f"where is {where!r}; give a list of conditions, such as ['x > 0']")
    stored = StoredDensities.of(ds, case)
    mesh, names = stored.mesh, dict(stored.case.parameters)
    given = functions_of(mesh, stored.openings) if functions is None else _values(mesh, functions, names)
    chosen = {text: values != 0.0 for text, values in _values(mesh, {text: text for text in where}, names).items()}
    random = random_sets(mesh.cells, _SETS) if stored.has_means else {}
    moments, bank = stored.moments(Bank(given, {**chosen, **random})), Bank(given, chosen)
    scale, kept = stored.mass * np.maximum(bank.sizes, np.finfo(float).tiny), len(bank.names)
    rules = [rule for rule in ORDERS if rule in moments.rules]
    return WeakResidual(
        bank.names,
        np.abs(moments.content - moments.content[0]).max(axis=0)[:kept] / scale,
        {rule: moments.largest(rule)[:kept] / scale for rule in rules},
        {rule: moments.order(rule)[:kept] for rule in rules},
        {rule: moments.by_interval(rule)[:, :kept] / scale for rule in rules},
        float(moments.largest("flux_mean")[kept:].max()) / stored.mass if random else np.nan,
    )


@dataclass(frozen=True, eq=False)
class Balance:
    """The mass of a set of cells at saved times, and what accounts for its changes; the notes, equations (8)-(12)."""

    time: Array
    """Saved times (frame,)."""
    mass: Array
    """Mass in the set (frame,)."""
    inflow: Array
    """Mass that has come in through faces since the frame before, less what has left (interval,)."""
    absorbed: Array
    """Mass that its openings have absorbed since the frame before (interval,)."""
    defect: Array
    """Change of the mass less inflow plus absorbed (interval,), relative to the mass of the whole run."""


def balance(ds: xarray.Dataset, where: str | ArrayLike, *, case: Case | None = None) -> Balance:
    """The mass balance of a set of cells: those that fulfil a condition on x, y, z, or a mask of the shape of rho.

    Raises CaseError as `residual`, for a mask of another shape, and without mean fluxes in the result.
    """
    stored = StoredDensities.of(ds, case)
    if not stored.has_means:
        raise CaseError("the result has no mean fluxes of its intervals; set output: {fluxes: true} if its flow has it")
    mesh = stored.mesh
    if isinstance(where, str):
        inside = _values(mesh, {where: where}, dict(stored.case.parameters))[where] != 0.0
    else:
        inside = np.asarray(where).astype(bool).ravel()
        if inside.size != mesh.cells:
            raise CaseError(f"the mask has {inside.size} values, the mesh {mesh.cells} cells; give one for each")
    frames = range(len(stored.time))
    mass = np.array([float((mesh.volume * stored.density(frame))[inside].sum()) for frame in frames])
    entering = np.zeros(mesh.faces) + inside[mesh.neighbour] - inside[mesh.owner]
    inflow, absorbed = np.zeros((2, len(frames) - 1))
    for interval, length in enumerate(np.diff(stored.time)):
        flux, outflow = stored.means(interval + 1)
        inflow[interval] = length * float(entering @ flux)
        absorbed[interval] = 0.0 if outflow is None else length * float(outflow[inside].sum())
    return Balance(stored.time, mass, inflow, absorbed, (np.diff(mass) - inflow + absorbed) / stored.mass)


def _values(mesh: Mesh, texts: Mapping[str, str | float], parameters: Mapping[str, float]) -> dict[str, Array]:
    """Expressions at the centres (cell,), by name; raises CaseError for one that is none, or uses t."""
    found = {}
    for name, text in texts.items():
        expression = Expression(text)
        if "t" in expression.names - set(parameters):
            raise CaseError(f"{text}: depends on t; a test function is one of space")
        expression.require(frozenset("xyz"[: mesh.dimension]) | set(parameters))
        found[name] = expression.at(mesh.centre, parameters, 0.0, mesh.regions)
    return found


@dataclass(frozen=True, eq=False)
class StoredDensities:
    """Densities at saved times with the equation of their case."""

    ds: Any
    case: Case
    mesh: Mesh
    time: Array
    """Saved times (frame,)."""

    @staticmethod
    def of(ds: xarray.Dataset, case: Case | None) -> StoredDensities:
        """Those of a dataset; raises CaseError if it has no densities in time, no case, or another mesh."""
        if "rho" not in ds or "time" not in ds or ds["rho"].dims[:1] != ("time",):
            raise CaseError("the dataset has no rho(time, ...) with its times; give what fvflow.read returns, or such")
        source, text = str(ds.encoding.get("source", "case")), ds.attrs.get("case")
        if case is None and not isinstance(text, str):
            raise CaseError("the dataset has no case, so that its equation is not known; give the case")
        own = isinstance(text, str) and ("mesh" in ds or "x_bnds" in ds)
        made = Case.parse(str(text), source) if case is None else case
        mesh = mesh_of(ds, made.mesh) if own else made.mesh.build()
        time = np.asarray(ds["time"].values, float)
        if len(time) < 2 or not (np.isfinite(time).all() and (np.diff(time) > 0).all()):
            raise CaseError(f"the {len(time)} times of the dataset have to be two at least, finite and ascending")
        shape = ds["rho"].shape[1:]
        if int(np.prod(shape)) != mesh.cells or (mesh.edges is not None and shape != mesh.shape):
            raise CaseError(f"rho has the shape {shape} at each time, the mesh of the case {mesh.shape}; give that one")
        _require_same_centres(ds, mesh)
        return StoredDensities(ds, made, mesh, time)

    @cached_property
    def openings(self) -> Openings | None:
        """Where mass leaves for good; None if it does not."""
        return openings_of(self.case, self.mesh)

    @cached_property
    def problem(self) -> Any:
        """The problem in arrays."""
        return problem_of(self.case, self.mesh, self.openings, float(self.time[0]))

    @cached_property
    def mass(self) -> float:
        """The mass at the first time."""
        return float(self.mesh.volume @ self.density(0))

    @property
    def has_means(self) -> bool:
        """Whether mean fluxes are stored, and known for every interval."""
        if (name := self._mean_name) is None or self.ds[name].shape[1:] != (self.mesh.faces,):
            return False
        return all(np.isfinite(self._frame(name, frame)).all() for frame in range(1, len(self.time)))

    @property
    def _mean_name(self) -> str | None:
        return next((name for name in ("flux_mean", "momentum") if name in self.ds), None)

    def _frame(self, name: str, frame: int) -> Array:
        return np.asarray(self.ds[name].isel(time=frame).values, float).ravel()

    def density(self, frame: int) -> Array:
        """rho (cell,); raises NumericsError if it is not finite."""
        values = self._frame("rho", frame)
        if not np.isfinite(values).all():
            raise NumericsError(f"rho is not finite at t = {self.time[frame]:g}; leave that time out")
        return values

    def means(self, frame: int) -> tuple[Array, Array | None]:
        """The mean flux of each face since the frame before (face,), and what each cell has lost for good (cell,)."""
        assert self._mean_name is not None
        flux = self._frame(self._mean_name, frame)
        if self._mean_name == "momentum":  # per area, of a geodesic
            flux = flux * self.mesh.area
        if "outflow_mean" not in self.ds:
            return flux, None
        lost = np.bincount(self.ds["opening_cell"].values, self._frame("outflow_mean", frame), self.mesh.cells)
        return flux, np.asarray(lost, float)

    def moments(self, bank: Bank) -> Moments:
        """The moments of all functions; raises CaseError if neither rates nor means are known."""
        frames = range(len(self.time))
        content = np.array([bank.sums(self.mesh.volume * self.density(frame)) for frame in frames])
        mean = rate = None
        if self.has_means:
            mean = np.array([bank.sums(self._mean_rate(frame)) for frame in frames])
        if _has_rate(type(self.case.flow)):
            rate = np.array([bank.sums(self.mesh.volume * self._rate(frame)) for frame in frames])
        if rate is None and mean is None:
            raise CaseError(
                f"the result has no mean fluxes, and flow {self.case.flow.kind} has no rate of change that depends on "
                f"rho alone; give a result of {flows_that(_has_rate)}, or one with fluxes"
            )
        return Moments(self.time, content, rate, mean)

    def _mean_rate(self, frame: int) -> Array:
        """Mass that each cell has gained in the mean since the frame before (cell,); the first is not used."""
        flux, lost = self.means(max(frame, 1))
        gained = -divergence(self.mesh, flux)
        return gained if lost is None else gained - lost

    def _rate(self, frame: int) -> Array:
        with np.errstate(all="ignore"):
            rate: Array = self.problem.rate(self.density(frame), float(self.time[frame]))
        if not np.isfinite(rate).all():
            raise NumericsError(
                f"d_t rho is not finite at t = {self.time[frame]:g}, where the least rho is "
                f"{self.density(frame).min():.3g}; the equation needs another density there"
            )
        return rate


def _has_rate(flow: type[BaseFlow]) -> bool:
    """Whether its densities change at a rate that its problem knows."""
    return flow.stores_fluxes and flow.steps_in_time


def _require_same_centres(ds: Any, mesh: Mesh) -> None:
    """Raise CaseError if the dataset has coordinates that are not the centres of the cells."""
    for axis, edge in zip("xyz", mesh.edges or (), strict=False):
        if axis not in ds:
            continue
        centre, given = 0.5 * (edge[1:] + edge[:-1]), np.asarray(ds[axis].values, float)
        if given.shape != centre.shape or np.abs(given - centre).max() > _SAME * np.diff(edge).min():
            raise CaseError(f"{axis} of the dataset is not that of the mesh of the case, the centres of its cells")
