"""python run_pypde.py PROBLEM N: py-pde, explicit Euler compiled by numba at its largest stable step."""

import sys

import numpy as np
import pde
from problem import Problem, clock

problem = Problem(sys.argv[1], int(sys.argv[2]))
begun, d = clock(), problem.dimension
grid = pde.CartesianGrid([[-problem.half, problem.half]] * d, [problem.n] * d)
state = pde.ScalarField(grid, problem.initial())
drift = [np.broadcast_to(part, (problem.n,) * d) for part in problem.velocity(*problem.grid())]
speed = float(sum(part**2 for part in drift).max())
stable = 0.9 * min(problem.width**2 / (2 * d * problem.epsilon), 2 * problem.epsilon / speed)
inner = int(np.ceil(problem.end / stable))
equation = pde.PDE(
    {"rho": f"{problem.epsilon}*laplace(rho) - divergence(rho*v)"},
    consts={"v": pde.VectorField(grid, np.array(drift))},
    bc_ops={"rho:laplace": {"derivative": 0}, "rho:divergence": {"normal_value": 0}},
)
options = {"solver": "euler", "dt": problem.end / inner, "tracker": None, "backend": "numba"}
equation.solve(state.copy(), t_range=options["dt"], **options)
ready = clock()
done, told = equation.solve(state, t_range=problem.end, ret_info=True, **options)
compiled = told["controller"]["profiler"].get("compilation") or 0.0
problem.tell("py-pde euler", ready - begun, (clock() - ready - compiled) / problem.steps, done.data, inner_steps=inner)
