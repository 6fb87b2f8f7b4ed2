"""Imports what most runs need, in the process from which the workers of a sweep are forked."""

import numba  # noqa: F401
import scipy.linalg
import scipy.sparse.linalg  # noqa: F401
import threadpoolctl  # noqa: F401

import fvflow.case  # noqa: F401
from fvflow.flows import FLOWS
from fvflow.jit import INTERPRETED_ITERATIONS, expect_iterations

FLOWS.members()
expect_iterations(2 * INTERPRETED_ITERATIONS)  # workers have numba and run many cases: nothing is interpreted
