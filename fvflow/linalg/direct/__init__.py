"""Direct elimination: chains, sparse factorisations, orderings."""
