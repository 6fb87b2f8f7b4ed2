"""python run_fplanck.py PROBLEM N: fplanck, the matrix exponential of scipy over the whole time."""

import sys

import fplanck
import numpy as np
from problem import Problem, clock
from scipy import constants

problem = Problem(sys.argv[1], int(sys.argv[2]))
begun, d = clock(), problem.dimension
gradient = np.allclose(problem.drift, problem.drift.T)
force = {"potential": problem.potential} if gradient else {"force": lambda *at: np.array(problem.velocity(*at))}
solver = fplanck.fokker_planck(
    temperature=problem.epsilon / constants.k,
    drag=1.0,
    extent=[2 * problem.half] * d,
    resolution=np.array([problem.width] * d) * (1 + 1e-12),
    boundary=fplanck.boundary.reflecting,
    **force,
)
ready, masses = clock(), problem.initial() * problem.volume
done = solver.propagate(lambda *at: masses.copy(), problem.end, normalize=False) / problem.volume
problem.tell("fplanck expm", ready - begun, (clock() - ready) / problem.steps, done)
