"""Dynamic optimal transport on a box: over-relaxed Chambolle-Pock with a space-time cosine projection.

    minimise  sum theta(K (rho, m))   under   (rho^{k+1} - rho^k)/dt + div m^k = 0,  rho^0, rho^N given,  m = 0 on walls

with theta(r, q) = |q|^2/(2 r) and rho >= 0. Densities live in cells at the time nodes k = 0..N, fluxes on faces in the
intervals k = 0..N-1, so that the constraint is the finite-volume balance itself. K is either

    cell   averages of rho over the two time nodes and of m over the two faces, at the centre of each cell and interval;
    face   the mean of the four rho around a face and an interval, with the flux of the face (two-point flux).

The dual of K(rho, m) is (alpha, beta), confined to the paraboloid alpha + |beta|^2/2 <= 0; the dual of rho >= 0 is
gamma <= 0; the multiplier of the constraint is the potential phi. The optimality conditions of `face`,

    beta = grad phi,   (phi^k - phi^{k-1})/dt + mean(|grad phi|^2)/2 = gamma + slack <= 0,   = 0 where rho^k > 0,

are a discrete Hamilton-Jacobi equation: the mean is over the two intervals and, in each direction, the two faces.

Iteration (P is the orthogonal projection on the constraint in the metric 1/tau):

    u~ = P(u - tau K^T y),   y~ = prox_{sigma F*}(y + sigma K (2 u~ - u)),   (u, y) += relaxation ((u~, y~) - (u, y)).

u~ = w - tau D^T p with D tau D^T p = D w - f; at the fixed point K^T y + D^T p = 0, so phi = p without any scaling.
K acts on rho and m apart: |K_rho|^2 <= 2 (cell) or 1 + d (face), |K_m| <= 1, hence tau_rho = tau_m/|K_rho|^2.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np

from fvflow.mesh import Array
from fvflow.transport.prolongation import refined
from fvflow.transport.space_time_grid import Iterate, Scheme, SpaceTimeGrid, eigenvalues

_BALANCE = 0.5  # power of the quotient of the residuals by which the ratio of the steps is changed


class Residual(NamedTuple):
    """|u~ - u|/(tau |y|) and |y~ - y|/(sigma |u|): the dual and the primal optimality residual."""

    dual: float
    primal: float


Watch = Callable[[int, Residual], None]


class ChambollePock:
    """The iteration on one grid."""

    def __init__(
        self, box: SpaceTimeGrid, initial: Array, target: Array, scheme: Scheme, ratio: float, relaxation: float
    ):
        from fvflow.transport import kernels

        self._kernels = kernels
        self.box, self.scheme, self.relaxation = box, scheme, relaxation
        self.ends = initial.reshape(box.rows, -1), target.reshape(box.rows, -1)
        self.h = np.array(box.spacing[::-1])
        self.norm = 2.0 if scheme == "cell" else 1.0 + len(box.shape)  # |K_rho|^2
        self.ratio, self.count = ratio, 0
        axes, shape = len(box.shape), (box.rows, box.shape[-1])
        self.w_rho = np.zeros((box.intervals + 1, *shape))
        self.w_rho[0], self.w_rho[-1] = self.ends
        self.w_m = np.zeros((axes, box.intervals, *shape))
        self._time = eigenvalues(box.intervals, box.dt)
        space = [eigenvalues(n, h) for n, h in zip(box.shape, box.spacing, strict=True)]
        self._space = sum(np.ix_(*space)[i] for i in range(axes))

    def start(self, coarse: Iterate | None) -> None:
        """From the linear interpolation in time, or from the iterate of the next coarser grid."""
        box = self.box
        t = np.linspace(0.0, 1.0, box.intervals + 1)[:, None, None]
        if coarse is None:
            rho = (1.0 - t) * self.ends[0] + t * self.ends[1]
            m = np.zeros_like(self.w_m)
            alpha = np.zeros_like(m if self.scheme == "face" else m[0])
            self.state = Iterate(rho, m, alpha, np.zeros_like(m), np.zeros_like(rho), np.zeros_like(m[0]))
        else:
            self.state = refined(coarse, box, self.scheme)
            self.state.rho[0], self.state.rho[-1] = self.ends
        self._project()

    def _project(self) -> None:
        """Put u on the constraint; the over-relaxed steps would only approach it, as (relaxation - 1)^count."""
        s, grid = self.state, (self.box.dt, self.h, self.box.plane)
        self._kernels.imbalance(s.phi, s.rho, s.m, *grid)
        self.poisson(s.phi, 1.0, 1.0)
        self.w_rho[1:-1], self.w_m[...] = s.rho[1:-1], s.m
        self._kernels.relax(s.rho, s.m, self.w_rho, self.w_m, s.phi, 1.0, 1.0, 1.0, *grid)

    def step(self) -> Residual:
        """One over-relaxed iteration, and the relative residuals of the point it left."""
        s, box, r = self.state, self.box, self.relaxation
        tau_m = 1.0 / sqrt(self.ratio)
        sigma, tau_rho = 0.999 / tau_m, tau_m / self.norm
        descend, ascend = (
            (self._kernels.descend_cell, self._kernels.ascend_cell)
            if self.scheme == "cell"
            else (self._kernels.descend_face, self._kernels.ascend_face)
        )
        grid = (box.dt, self.h, box.plane)
        descend(self.w_rho, self.w_m, s.phi, s.rho, s.m, s.alpha, s.beta, s.gamma, tau_rho, tau_m, *grid)
        self.poisson(s.phi, tau_rho, tau_m)
        moved = self._kernels.relax(s.rho, s.m, self.w_rho, self.w_m, s.phi, tau_rho, tau_m, r, *grid)
        turned = ascend(s.alpha, s.beta, self.w_rho, self.w_m, sigma, r, box.plane)
        turned += self._kernels.ascend_sign(s.gamma, self.w_rho, sigma, r)
        self.count += 1
        return Residual(sqrt(moved[0] / tau_rho**2 + moved[1] / tau_m**2), sqrt(turned) / sigma)

    def poisson(self, rest: Array, tau_rho: float, tau_m: float) -> None:
        """Solve D tau D^T p = rest in place: cosines diagonalise it, the constant mode is dropped."""
        shape = (self.box.intervals, *self.box.shape)
        from scipy.fft import dctn, idctn

        hat = dctn(rest.reshape(shape), type=2, workers=1, overwrite_x=True)
        eigen_time = tau_rho * self._time.reshape(-1, *[1] * len(self.box.shape))
        for k in range(shape[0]):  # slab by slab: no space-time array of eigenvalues
            eigen = eigen_time[k] + tau_m * self._space
            if k == 0:
                eigen.flat[0] = np.inf
            hat[k] /= eigen
        rest[...] = idctn(hat, type=2, workers=1, overwrite_x=True).reshape(rest.shape)

    def run(self, tolerance: float, iterations: int, every: int, watch: Watch | None) -> tuple[Residual, bool]:
        """Iterate until both residuals are below the tolerance, balancing them by the ratio of the steps."""
        next_balance, relative = 4 * every, Residual(np.inf, np.inf)
        while self.count < iterations:
            raw = self.step()
            if self.count % every and self.count < iterations:
                continue
            s = self.state
            size_u = sqrt(sum(self._kernels.dot(a.ravel(), a.ravel()) for a in (s.rho, s.m)))
            size_y = sqrt(sum(self._kernels.dot(a.ravel(), a.ravel()) for a in (s.alpha, s.beta, s.gamma)))
            relative = Residual(raw.dual / max(size_y, 1e-300), raw.primal / size_u)
            if watch:
                watch(self.count, relative)
            if max(relative) <= tolerance:
                return relative, True
            if self.count >= next_balance:  # at geometrically growing intervals: the ratio settles, theory applies
                self.ratio *= min(max((relative.primal / max(relative.dual, 1e-300)) ** _BALANCE, 0.2), 5.0)
                next_balance = int(self.count * 1.3) + every
        return relative, False

    def value(self) -> float:
        """dt (K u, y), the saddle value: its error is a product of the errors of u and y."""
        s, box = self.state, self.box
        mean = 0.5 * (s.rho[1:] + s.rho[:-1])
        if self.scheme == "cell":
            total = float(np.vdot(mean, s.alpha))
            for a in range(len(box.shape)):
                q = _axis(s.m[a], box, a)
                total += float(np.vdot(_axis(s.beta[a], box, a), 0.5 * (q + np.roll(q, 1, -1))))
        else:
            total = float(np.vdot(s.m, s.beta))
            for a in range(len(box.shape)):
                q = _axis(mean, box, a)
                total += float(np.vdot(_axis(s.alpha[a], box, a), 0.5 * (q + np.roll(q, -1, -1))))
        return box.dt * (total + float(np.vdot(s.rho, s.gamma)))


def _axis(a: Array, box: SpaceTimeGrid, axis: int) -> Array:
    """(interval, row, x) as (..., axis) for the axis counted from x."""
    return np.moveaxis(a.reshape(-1, *box.shape), -1 - axis, -1)
