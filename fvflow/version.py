"""The version of fvflow."""

__version__ = "0.1.0"
