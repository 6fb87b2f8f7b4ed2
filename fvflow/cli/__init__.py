"""The command line; the only package that prints."""

from fvflow.cli.commands import main

__all__ = ["main"]
