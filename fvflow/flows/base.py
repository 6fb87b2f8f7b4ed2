"""What most flows have in common."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from fvflow.errors import CaseError
from fvflow.fields import Drift, Kernel, Names
from fvflow.march import Times
from fvflow.mesh import Mesh
from fvflow.problems import OutputVariable


class BaseFlow:
    """The answers of a flow without drift, diffusion, interaction, or fields beside the density."""

    energy_each_step: ClassVar[bool] = False  # whether the energy is known at every step, or asking would cost as much

    @property
    def explicit(self) -> bool:
        """Whether the work of a step grows with its length."""
        return False

    @property
    def caveat(self) -> str:
        """Why no step is sure to keep densities non-negative, where it is not the flux."""
        return ""

    def schedule(self, times: Times | None) -> Times:
        """The times of the run; raises CaseError if the case has none."""
        if times is None:
            raise CaseError("is missing")
        return times

    def drift(self, names: Names) -> Drift:
        """The drift as expressions."""
        return Drift(names=names)

    def diffusion(self) -> float:
        """eps."""
        return 0.0

    def power_laws(self) -> tuple[tuple[float, float], ...]:
        """c and m of each energy c int rho^m/(m - 1)."""
        return ()

    def kernels(self, names: Names) -> tuple[Kernel, ...]:
        """The kernel of each interaction."""
        return ()

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """Cell fields that are stored at each time beside rho."""
        return {}

    def face_fields(self) -> dict[str, OutputVariable]:
        """Face fields that are stored at each time."""
        return {}

    def positive_step(self, problem: Any) -> float:
        """The longest step that keeps every density non-negative."""
        return math.inf

    def numerical_diffusion(self, problem: Any) -> float | None:
        """The largest numerical diffusion |v| d/2 of upwinding; None where nothing is upwinded."""
        return None

    def peclet(self, problem: Any) -> float | None:
        """The largest |w|/eps of a face; None where it does not matter."""
        return None
