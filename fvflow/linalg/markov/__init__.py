"""The generator as a Markov chain: jumps, stationary states, spectra."""
