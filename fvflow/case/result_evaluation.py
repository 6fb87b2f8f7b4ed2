"""The functions of a result, whose case is in its attributes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from fvflow.case.build import Parts
from fvflow.case.evaluation import Evaluation, Outside
from fvflow.errors import CaseError
from fvflow.reconstruction import InTime

if TYPE_CHECKING:
    import xarray

__all__ = ["Evaluation", "ParseCase", "evaluate", "evaluate_result"]


class ParseCase(Protocol):
    """What makes a case of a YAML text and the name of its file: `Case.parse`."""

    def __call__(self, text: str, name: str) -> Parts:
        """The case; raises CaseError."""


def evaluate(
    ds: xarray.Dataset,
    parse: ParseCase,
    *,
    in_time: InTime = "hermite",
    outside: Outside = "refuse",
    accept: bool = False,
) -> Evaluation:
    """The functions of a result, whose case is in its attributes; files of the case are looked for beside the result.

    Raises CaseError if it has no case, or one that is not valid.
    """
    if not hasattr(ds, "attrs"):
        raise CaseError(f"{ds!r} is no result; give what Case.run returns, or fvflow.read(path)")
    text = ds.attrs.get("case")
    if not isinstance(text, str) or "rho" not in ds or "time" not in ds.dims:
        raise CaseError("the dataset has no case or no density in time; give what Case.run or fvflow.read returns")
    if not ds.sizes["time"]:
        raise CaseError("the dataset has no saved times; give a result with frames")
    name = str(ds.encoding.get("source", "case"))
    return Evaluation(ds, parse(text, name), in_time=in_time, outside=outside, accept=accept)


def evaluate_result(path: str | os.PathLike[str], parse: ParseCase) -> Evaluation:
    """The functions of the result NAME.nc, for a flow along its velocity; `parse` is `Case.parse`.

    The file stays open, as its frames are read when they are needed. Raises OutputError if it cannot be read, and as
    `evaluate`.
    """
    from fvflow.dataset import read

    return evaluate(read(path), parse)
