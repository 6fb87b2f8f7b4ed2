"""The Fokker-Planck equation of a run with particles."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from fvflow.lagrangian.start import Gaussians, of_cells, of_gaussians
from fvflow.lagrangian.walkers import Walkers
from fvflow.mesh import Array
from fvflow.problems import FokkerPlanck, State


@dataclass(frozen=True, eq=False)
class ParticleProblem(FokkerPlanck):
    """The equation, its particles, and the density that they start from.

    The density of their numbers in cells has no energy: its entropy is that of a finite sample.
    """

    count: int = field(kw_only=True)
    """Number of particles."""
    seed: int = field(kw_only=True)
    """Seed of all random numbers."""
    in_cells: bool = field(kw_only=True)
    """Whether they jump between the cells, so that they see the numerical diffusion of the flux."""
    gaussians: Gaussians = field(default=(), kw_only=True)
    """The initial density, if it is one or several Gaussians."""
    initial: Array | None = field(default=None, kw_only=True)
    """The initial density (cell,), absorbing cells included; None until it is known."""
    law: Array | None = field(default=None, kw_only=True)
    """Masses (cell,) at the end that the particles are compared with, of a whole of 1; None if there are none."""

    def energy(self, time: float) -> None:
        """None."""
        return

    def numerical_diffusion(self) -> float | None:
        """As of the equation if they jump between cells; None for others."""
        return super().numerical_diffusion() if self.in_cells else None

    def started(self) -> Walkers:
        """The particles at the start, from Gaussians themselves unless they know only cells."""
        assert self.initial is not None
        if self.gaussians and not self.in_cells:
            position, cell = of_gaussians(self.mesh, self.gaussians, self.count, self.seed)
        else:
            position, cell = of_cells(self.mesh, self.initial, self.count, self.seed)
        return Walkers.at(position, cell, self.openings)

    def state(self, before: State, walkers: Walkers, length: float) -> State:
        """The state a step of this length after another one, with these particles."""
        return self.with_walkers(before.advanced(length, before.density, absorption=before.absorption), walkers)

    def with_walkers(self, state: State, walkers: Walkers) -> State:
        """A state with these particles, and their numbers as the density and as what has been absorbed."""
        unit = state.mass / self.count
        moving = walkers.cell if self.openings is None else walkers.cell[walkers.group < 0]
        density = unit * np.bincount(moving, minlength=self.mesh.cells) / self.mesh.volume
        absorption = None
        if self.openings is not None:
            absorbed = np.bincount(walkers.group[walkers.group >= 0], minlength=len(self.openings.names))
            masses = unit * np.append(len(moving), absorbed)
            absorption = np.stack([masses, np.zeros_like(masses)])
        carried = {"position": walkers.position, "cell": walkers.cell, "absorbed_by": walkers.group}
        return replace(state, density=density, absorption=absorption, particles=carried)
