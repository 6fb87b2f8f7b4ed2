"""Densities and their gradients at points, from the values of cells."""
