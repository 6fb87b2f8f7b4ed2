"""A result at points, for Python: `fvflow.at`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvflow.case.core import Case
from fvflow.case.evaluation import Evaluation, Outside
from fvflow.case.result_evaluation import evaluate
from fvflow.reconstruction import InTime

if TYPE_CHECKING:
    import xarray


def at(
    ds: xarray.Dataset,
    *,
    case: Case | None = None,
    in_time: InTime = "hermite",
    outside: Outside = "refuse",
    accept: bool = False,
) -> Evaluation:
    """A result, as `Case.run` or `fvflow.read` return it, as functions of position and time.

    `case` is its case, by default that in its attributes, which needs files beside the result. `in_time` is how log rho
    is interpolated between saves. Points outside of the mesh are refused, or have the value nan. `accept` takes saves
    between which log rho is known to worse than 0.5. Raises CaseError as `evaluate`.

    >>> run = Case.parse("mesh: {kind: box, lower: [-6], upper: [6], cells: [120]}\\n"
    ...     "flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2, stepper: {kind: tr-bdf2}}\\n"
    ...     "initial: {kind: gaussian, mean: [1], covariance: [[0.5]]}\\n"
    ...     "times: {end: 1, step: 0.01, save: 0.1}").run()
    >>> flow = at(run)
    >>> flow.score([[0.0], [1.0]], 0.5).round(2)  # (m - x)/s^2, m = exp(-t), s^2 = 1 - exp(-2t)/2
    array([[ 0.74],
           [-0.48]])
    """
    if case is not None:
        return Evaluation(ds, case, in_time=in_time, outside=outside, accept=accept)
    return evaluate(ds, Case.parse, in_time=in_time, outside=outside, accept=accept)
