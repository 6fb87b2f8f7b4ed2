"""The command line; the only part of the house that prints."""

from fvflow.cli.commands import main

__all__ = ["main"]
