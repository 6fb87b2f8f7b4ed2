"""python run_fipy.py PROBLEM N SOLVER [STEPS]: FiPy with a solver of its scipy suite, to the tolerance 1e-8."""

import os
import sys

os.environ["FIPY_SOLVERS"] = "scipy"
name, n, solver, *steps = sys.argv[1:]
sys.argv = sys.argv[:1]  # FiPy reads the rest

import fipy  # noqa: E402
import numpy as np  # noqa: E402
from problem import Problem, clock  # noqa: E402

problem = Problem(name, int(n))
count = int(steps[0]) if steps else problem.steps
begun, d = clock(), problem.dimension
sizes = {f"n{axis}": problem.n for axis in "xyz"[:d]} | {f"d{axis}": problem.width for axis in "xyz"[:d]}
mesh = (fipy.Grid1D, fipy.Grid2D, fipy.Grid3D)[d - 1](**sizes) + [[-problem.half]] * d
rho = fipy.CellVariable(mesh=mesh, value=problem.initial().ravel(order="F"), hasOld=True)
velocity = fipy.FaceVariable(mesh=mesh, rank=1, value=np.array(problem.velocity(*mesh.faceCenters.value)))
term = fipy.UpwindConvectionTerm if name == "rot2d" else fipy.ExponentialConvectionTerm
equation = fipy.TransientTerm() + term(coeff=velocity) == fipy.DiffusionTerm(coeff=problem.epsilon)
chosen, marks = getattr(fipy, solver)(tolerance=1e-8, iterations=2000), []
for _ in range(count):
    rho.updateOld()
    equation.solve(var=rho, dt=problem.step, solver=chosen)
    marks.append(clock())
done = np.array(rho.value).reshape((problem.n,) * d, order="F") if count == problem.steps else None
problem.tell(f"fipy {solver}", marks[0] - begun, (marks[-1] - marks[0]) / max(count - 1, 1), done)
