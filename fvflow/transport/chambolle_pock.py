"""The Benamou-Brenier problem on a uniform grid: over-relaxed Chambolle-Pock with a projection by cosine transforms.

    minimise  sum theta(K (rho, m))   under   (rho^{k+1} - rho^k)/dt + div m^k = 0,  rho^0, rho^N given,  m = 0 on walls

with theta(r, q) = |q|^2/(2 r) and rho >= 0. Densities are cell values at the time nodes k = 0..N, momenta are face
values in the intervals k = 0..N-1, so that the constraint is the finite-volume balance itself. K is either

    cell   averages of rho over the two time nodes and of m over the two faces, at the centre of each cell and interval;
    face   the mean of the four rho around a face and an interval, with the momentum of the face (two-point flux).

The dual of K(rho, m) is (alpha, beta), constrained to the paraboloid alpha + |beta|^2/2 <= 0; the dual of rho >= 0 is
gamma <= 0; the multiplier of the constraint is the potential phi. The optimality conditions of `face`,

    beta = grad phi,   (phi^k - phi^{k-1})/dt + mean(|grad phi|^2)/2 = gamma + slack <= 0,   = 0 where rho^k > 0,

are a discrete Hamilton-Jacobi equation: the mean is over the two intervals and, in each direction, the two faces.

Iteration (P is the orthogonal projection on the constraint in the metric 1/tau):

    u~ = P(u - tau K^T y),   y~ = prox_{sigma F*}(y + sigma K (2 u~ - u)),   (u, y) += relaxation ((u~, y~) - (u, y)).

u~ = w - tau D^T p with D tau D^T p = D w - f; at the fixed point K^T y + D^T p = 0, so phi = p without any scaling.
K acts on rho and m separately: |K_rho|^2 <= 2 (cell) or 1 + d (face), |K_m| <= 1, hence tau_rho = tau_m/|K_rho|^2.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np

from fvflow.iterates import Iterate, require_iterate
from fvflow.mesh import Array
from fvflow.transport.prolongation import prolonged
from fvflow.transport.space_time_grid import Laplacian, PrimalDualIterate, Scheme, SpaceTimeGrid, eigenvalues

_BALANCE = 0.5  # the ratio of the steps changes by this power of the quotient of the residuals


class Residual(NamedTuple):
    """|u~ - u|/(tau |y|) and |y~ - y|/(sigma |u|): the dual and the primal optimality residual."""

    dual: float
    primal: float


class ChambollePock:
    """The iteration on one grid; stopping and going on, it is that of an uninterrupted run to the last bit."""

    def __init__(
        self,
        grid: SpaceTimeGrid,
        initial: Array,
        target: Array,
        scheme: Scheme,
        ratio: float,
        relaxation: float,
        tolerance: float,
        every: int,
    ):
        from fvflow.transport import dual_kernels, kernels

        self._kernels, self._dual_kernels = kernels, dual_kernels
        self.grid, self.scheme, self.relaxation = grid, scheme, relaxation
        self.ends = initial.reshape(grid.rows, -1), target.reshape(grid.rows, -1)
        self.norm = 2.0 if scheme == "cell" else 1.0 + len(grid.shape)  # |K_rho|^2
        self.ratio, self.count, self._every = ratio, 0, every
        self.aim_at(tolerance)
        axes, shape = len(grid.shape), (grid.rows, grid.shape[-1])
        self.w_rho = np.zeros((grid.intervals + 1, *shape))
        self.w_rho[0], self.w_rho[-1] = self.ends
        self.w_m = np.zeros((axes, grid.intervals, *shape))
        self._joined = np.array(grid.joined[::-1])
        self._geometry = grid.dt, np.array(grid.spacing[::-1]), grid.rows_per_plane, self._joined  # for the kernels
        self._time, self._laplacian = eigenvalues(grid.intervals, grid.dt), Laplacian(grid)

    def aim_at(self, tolerance: float) -> None:
        """Go on until both relative residuals, evaluated anew, are at most this tolerance."""
        self.tolerance = tolerance
        self.residual, self._next_balance = Residual(np.inf, np.inf), 4 * self._every

    def start(self, coarse: PrimalDualIterate | None) -> None:
        """Start from the linear interpolation in time, or from the iterate of the next coarser grid."""
        grid = self.grid
        t = np.linspace(0.0, 1.0, grid.intervals + 1)[:, None, None]
        if coarse is None:
            self.iterate = PrimalDualIterate.zero(grid, self.scheme)
            self.iterate.rho = (1.0 - t) * self.ends[0] + t * self.ends[1]
        else:
            self.iterate = prolonged(coarse, grid, self.scheme)
            self.iterate.rho[0], self.iterate.rho[-1] = self.ends
        self._project()

    def to_tree(self) -> Iterate:
        """All that the iteration needs to go on; the arrays are its own."""
        return {
            **vars(self.iterate),
            **self.residual._asdict(),
            "tolerance": self.tolerance,
            "ratio": self.ratio,
            "count": self.count,
            "next_balance": self._next_balance,
        }

    def restore(self, tree: Iterate) -> None:
        """Go on from an iterate; raises OutputError if it is not one of this problem."""
        self.iterate = PrimalDualIterate.zero(self.grid, self.scheme)
        require_iterate(tree, self.to_tree())
        self.iterate = PrimalDualIterate(**{name: tree[name] for name in vars(self.iterate)})
        self.residual = Residual(tree["dual"], tree["primal"])
        self.tolerance, self.ratio = tree["tolerance"], tree["ratio"]
        self.count, self._next_balance = tree["count"], tree["next_balance"]

    def _project(self) -> None:
        """Put u on the constraint; the over-relaxed steps would only approach it, as (relaxation - 1)^count."""
        s = self.iterate
        self._kernels.imbalance(s.phi, s.rho, s.m, *self._geometry)
        self.poisson(s.phi, 1.0, 1.0)
        self.w_rho[1:-1], self.w_m[...] = s.rho[1:-1], s.m
        self._kernels.relax(s.rho, s.m, self.w_rho, self.w_m, s.phi, 1.0, 1.0, 1.0, *self._geometry)

    def step(self) -> Residual:
        """One over-relaxed iteration; returns the norms of both residuals at the point it started from."""
        s, r, rows_per_plane = self.iterate, self.relaxation, self.grid.rows_per_plane
        tau_m = 1.0 / sqrt(self.ratio)
        sigma, tau_rho = 0.999 / tau_m, tau_m / self.norm
        descend, ascend = (
            (self._kernels.descend_cell, self._dual_kernels.ascend_cell)
            if self.scheme == "cell"
            else (self._kernels.descend_face, self._dual_kernels.ascend_face)
        )
        w = self.w_rho, self.w_m
        descend(*w, s.phi, s.rho, s.m, s.alpha, s.beta, s.gamma, tau_rho, tau_m, *self._geometry)
        self.poisson(s.phi, tau_rho, tau_m)
        change_u = self._kernels.relax(s.rho, s.m, *w, s.phi, tau_rho, tau_m, r, *self._geometry)
        change_y = ascend(s.alpha, s.beta, *w, sigma, r, rows_per_plane, self._joined)
        change_y += self._dual_kernels.ascend_sign(s.gamma, self.w_rho, sigma, r)
        self.count += 1
        return Residual(sqrt(change_u[0] / tau_rho**2 + change_u[1] / tau_m**2), sqrt(change_y) / sigma)

    def poisson(self, right: Array, tau_rho: float, tau_m: float) -> None:
        """Solve D tau D^T p = right in place: transforms diagonalise it, the constant mode is dropped."""
        shape = (self.grid.intervals, *self.grid.shape)
        time = (-len(shape),)
        hat = self._laplacian.forward(right.reshape(shape), time, overwrite=True)
        eigen_time = tau_rho * self._time.reshape(-1, *[1] * len(self.grid.shape))
        for k in range(shape[0]):  # one interval at a time: no space-time array of eigenvalues
            eigen = eigen_time[k] + tau_m * self._laplacian.eigenvalues
            if k == 0:
                eigen.flat[0] = np.inf
            hat[k] /= eigen
        right[...] = self._laplacian.backward(hat, time).reshape(right.shape)

    def run(self, iterations: int, report: Callable[[], None]) -> bool:
        """Iterate until both relative residuals are at most the tolerance, at most so many times; whether they are.

        They are evaluated in every so many iterations, and balanced by the ratio of the steps. `report` is called after
        each iteration.
        """
        while max(self.residual) > self.tolerance and self.count < iterations:
            raw = self.step()
            if self.count % self._every == 0 or self.count == iterations:
                self.residual = self._relative(raw)
                self._balance()
            report()
        return max(self.residual) <= self.tolerance

    def _balance(self) -> None:
        """Balance the residuals at geometrically growing intervals, so that the ratio settles and theory applies."""
        if max(self.residual) > self.tolerance and self.count >= self._next_balance:
            self.ratio *= min(max((self.residual.primal / max(self.residual.dual, 1e-300)) ** _BALANCE, 0.2), 5.0)
            self._next_balance = int(self.count * 1.3) + self._every

    def _relative(self, raw: Residual) -> Residual:
        """The residuals over the norms of y and u."""
        s = self.iterate
        norm_u = sqrt(sum(self._kernels.dot(a.ravel(), a.ravel()) for a in (s.rho, s.m)))
        norm_y = sqrt(sum(self._kernels.dot(a.ravel(), a.ravel()) for a in (s.alpha, s.beta, s.gamma)))
        return Residual(raw.dual / max(norm_y, 1e-300), raw.primal / norm_u)

    def value(self) -> float:
        """dt (K u, y), the saddle value: its error is a product of the errors of u and y."""
        s, grid = self.iterate, self.grid
        mean = 0.5 * (s.rho[1:] + s.rho[:-1])
        if self.scheme == "cell":
            total = float(np.vdot(mean, s.alpha))
            for a in range(len(grid.shape)):
                q = _axis_last(s.m[a], grid, a)
                total += float(np.vdot(_axis_last(s.beta[a], grid, a), 0.5 * (q + np.roll(q, 1, -1))))
        else:
            total = float(np.vdot(s.m, s.beta))
            for a in range(len(grid.shape)):
                q = _axis_last(mean, grid, a)
                total += float(np.vdot(_axis_last(s.alpha[a], grid, a), 0.5 * (q + np.roll(q, -1, -1))))
        return grid.dt * (total + float(np.vdot(s.rho, s.gamma)))


def _axis_last(a: Array, grid: SpaceTimeGrid, axis: int) -> Array:
    """(interval, row, x) as (..., axis), the axes counted from x."""
    return np.moveaxis(a.reshape(-1, *grid.shape), -1 - axis, -1)
