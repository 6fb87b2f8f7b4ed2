"""One way to put a result together: the same variables, values and attributes, whatever stores them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from fvflow.dataset.frame import Frame
from fvflow.dataset.groups import figure_group
from fvflow.dataset.layout import Layout, header
from fvflow.dataset.variable import Group
from fvflow.mesh import Array

T = TypeVar("T")


class Assembly(ABC, Generic[T]):
    """A result that grows frame by frame; a subclass only stores what it is given.

    `attributes` are the global attributes that are known before the run.
    """

    def __init__(self, layout: Layout, attributes: Mapping[str, Any]) -> None:
        self.layout, self.times = layout, list[float]()
        self._attributes = dict(attributes)

    def append(self, frame: Frame) -> None:
        """Store one frame; raises ValueError if its names are not those of the layout."""
        self._store(self.layout.values(frame))
        self.times.append(float(frame.time))

    def close(self, attributes: Mapping[str, Any], figures: Mapping[str, float]) -> T:
        """Complete the result by the attributes and the figures that are known after the run."""
        return self._complete(header({**self._attributes, **attributes}), figure_group(figures))

    @abstractmethod
    def _store(self, values: Mapping[str, Array]) -> None:
        """Store the values of a frame, by path as in `Layout.values`."""

    @abstractmethod
    def _complete(self, attributes: Mapping[str, Any], groups: Mapping[str, Group]) -> T:
        """Add global attributes and groups; returns the result, if there is more to it than a file."""
