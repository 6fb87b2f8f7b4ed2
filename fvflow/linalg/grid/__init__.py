"""Solvers for tensor grids, without a matrix: line sweeps, stencils, geometric multigrid."""
