"""python run_fvflow.py PROBLEM N STEPPER [STEPS]: fvflow, from the case to the last step; STEPS cut the time anew.

STEPPER may have the tolerance of its iteration behind it: implicit-euler:1e-8.
"""

import sys
from itertools import pairwise

import numpy as np
from problem import Problem, clock

name, n, stepper, *steps = sys.argv[1:]
kind, _, tolerance = stepper.partition(":")
solver = {"solver": {"kind": "krylov", "tolerance": float(tolerance)}} if tolerance else {}
problem = Problem(name, int(n))
count = int(steps[0]) if steps else problem.steps

from fvflow.case import Case  # noqa: E402

begun, axes = clock(), "xyz"[: problem.dimension]
rows = ["+".join(f"({-a})*{axis}" for a, axis in zip(row, axes, strict=True)) for row in problem.drift]
gradient = np.allclose(problem.drift, problem.drift.T)
weights = [(a, p, q) for row, p in zip(problem.drift, axes, strict=True) for a, q in zip(row, axes, strict=True)]
quadratic = "+".join(f"({a})*{p}*{q}" for a, p, q in weights)
drift = {"potential": f"0.5*({quadratic})"} if gradient else {"velocity": rows}
box = {"lower": [-problem.half] * problem.dimension, "upper": [problem.half] * problem.dimension}
case = Case.parse(
    "mesh: {kind: box, lower: [0], upper: [1], cells: [4]}\nflow: {kind: fokker-planck, epsilon: 1}\n"
    "initial: {kind: uniform}\ntimes: {end: 1, step: 1}\n"
).replace(
    {
        "mesh": {"kind": "box", **box, "cells": [problem.n] * problem.dimension},
        "flow": {"kind": "fokker-planck", "epsilon": problem.epsilon, **drift, "stepper": {"kind": kind, **solver}},
        "initial": {
            "kind": "gaussian",
            "mean": problem.mean.tolist(),
            "covariance": (problem.variance * np.eye(problem.dimension)).tolist(),
            "sampling": "centre",
        },
        "times": {"end": problem.end, "step": problem.end / count},
    }
)
prepared, marks = case.prepare(), []
frames = list(prepared.frames(lambda state: marks.append(clock())))  # two, as nothing is saved between
paces = [after - before for before, after in pairwise(marks[1:])] or [marks[-1] - marks[0]]
density = np.reshape(frames[-1].density, (problem.n,) * problem.dimension, order="F")
whole = {"steps": count, "run_s": round(marks[-1] - begun, 4), "mass_drift": prepared.figures()["mass_drift"]}
problem.tell(f"fvflow {stepper}", marks[1] - begun, sum(paces) / len(paces), density, **whole)
