"""One mutant, run and judged."""

from __future__ import annotations

import math
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.case import Case
from fvflow.case.simulation import Simulation
from fvflow.cli.signals import compiling
from fvflow.dataset import Frame, Layout, Memory
from fvflow.errors import FvflowError, NumericsError

MOST_STEPS = 200  # of a run, after which it has been looked at for long enough
GRACE, _AGAIN = 3.0, 0.5  # seconds from the request to stop to the first exception, and between exceptions
MASS = 1e-13  # of a change of mass where no density is below 0
_ROUND_OFF = 4 * sys.float_info.epsilon
UNKNOWN = frozenset(("gap", "step_gap", "flux_mean", "outflow_mean", "chi_square_p", "determinant_gap"))
"""nan where a step proves no bound, before the first interval, for too few particles, and where paths leave."""


class Cut(BaseException):
    """A run has taken long enough; what it did so far is judged."""


class Clock:
    """Stops a run as the command line does: after some seconds at the next step, GRACE later wherever it is."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.forced = False

    def step(self, steps: int) -> None:
        """Raise `Cut` after the time or MOST_STEPS."""
        if steps > MOST_STEPS or time.monotonic() > self._end:
            raise Cut

    @contextmanager
    def limited(self) -> Iterator[None]:
        """The block, in which the end is enforced by a signal."""

        def cut(number: int, frame: Any) -> None:
            if not compiling(frame):  # tried again a moment later
                self.forced = True
                raise Cut

        before = signal.signal(signal.SIGALRM, cut)
        signal.setitimer(signal.ITIMER_REAL, self._end - time.monotonic() + GRACE, _AGAIN)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@dataclass
class Verdict:
    """How a mutant ended: refused, failed, cut or finished; and what it must not have done, by kind."""

    outcome: str = "finished"
    findings: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        """Note the first finding of a kind."""
        self.findings.setdefault(kind, sentence)


def judge(text: str, name: str, seconds: float) -> Verdict:
    """Check and run a case for some seconds at most."""
    verdict, clock = Verdict(), Clock(seconds)
    try:
        with warnings.catch_warnings(), clock.limited():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            _run(text, name, verdict, clock)
    except Cut:
        verdict.outcome = "stopped by force" if clock.forced else "cut"
    except NumericsError as error:
        verdict.outcome = f"failed: {error}"
    except FvflowError as error:
        verdict.outcome = f"refused: {error}"
    except MemoryError:
        verdict.add("memory", "MemoryError")
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        own = [line for line in traceback.extract_tb(error.__traceback__) if "/fvflow/" in line.filename]
        where = " < ".join(f"{line.filename.rpartition('/fvflow/')[2]}:{line.lineno}" for line in reversed(own[-3:]))
        verdict.add("traceback", f"{type(error).__name__}: {error} in {place.name} ({where})"[:500])
    return verdict


def _run(text: str, name: str, verdict: Verdict, clock: Clock) -> None:
    case = Case.parse(text, name)
    simulation = case.prepare()
    case.check(simulation)
    layout = simulation.layout()
    memory, unknown = Memory(layout, {}), UNKNOWN | told_unknown(layout)
    steps = 0

    def watch(state: Any) -> None:
        nonlocal steps
        steps += 1
        clock.step(steps)

    try:
        for frame in simulation.frames(watch):
            for kind, sentence in frame_findings(frame, unknown):
                verdict.add(kind, sentence)
            memory.append(frame)
        simulation.remarks()
        memory.close({}, simulation.statistics.solved)
    finally:
        for kind, sentence in run_findings(simulation):
            verdict.add(kind, sentence)


def told_unknown(layout: Layout) -> frozenset[str]:
    """The variables of which a result says that they are nan somewhere."""
    variables = {**layout.diagnostics, **layout.cell_fields, **layout.face_fields}
    return frozenset(name for name, variable in variables.items() if "nan " in variable.long_name)


def frame_findings(frame: Frame, unknown: Collection[str] = UNKNOWN) -> Iterator[tuple[str, str]]:
    """NaN in any field or diagnostic of a frame that is not among the unknown ones."""
    stored: Mapping[str, Any] = {"rho": frame.density, **frame.diagnostics, **frame.fields, **frame.face_fields}
    for name, value in stored.items():
        nothing = name in ("mean", "covariance") and frame.diagnostics["mass"] == 0  # all of it absorbed
        if name not in unknown and not nothing and np.isnan(value).any():
            yield "NaN", f"{name} at t = {frame.time:g}"


def run_findings(simulation: Simulation) -> Iterator[tuple[str, str]]:
    """NaN in a figure; a density below 0, a change of mass or an increase of energy that a method rules out."""
    figures = simulation.figures()
    for name, value in figures.items():
        if name not in UNKNOWN and isinstance(value, float) and math.isnan(value):
            yield "NaN", f"figure {name}"
    promised = simulation.positivity()
    if not promised.startswith("not guaranteed") and figures["minimum"] < 0:
        yield "negative", f"minimum {figures['minimum']:g}, positivity {promised}"
    below = max(-figures["minimum"], 0.0) / (simulation.statistics.mean_density or 1.0)
    if figures["mass_drift"] > MASS + _ROUND_OFF * below:  # of a sum of values of both signs
        yield "mass", f"mass drift {figures['mass_drift']:g}"
    increase, stepper = figures.get("energy_increase", 0.0), getattr(simulation.flow, "stepper", None)
    if getattr(stepper, "kind", "") in ("ljko", "jko") and increase > _energy_round_off(simulation):
        yield "energy", f"energy increases by {increase:g}"


def _energy_round_off(simulation: Simulation) -> float:
    energy = simulation.problem.energy(simulation.initial.time)
    return 100.0 * float(energy.round_off(simulation.initial.density))
