"""Names and kinds of a package that are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def deferred(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562) whose names are defined in these modules of it.

    A name that is a module itself stands for that: {"plot": "plot"}.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{modules[name]}")
        return module if modules[name] == name else getattr(module, name)

    return get


class Kinds(Generic[T]):
    """The kinds of one family, whose modules are imported when the kinds are asked for.

    A field that takes any of them is hinted `Annotated[Base, KINDS]`.
    """

    def __init__(self, package: str, places: Mapping[str, str]) -> None:
        """`places`: module.Class of each kind in the package, in the order in which they are told."""
        self._package = package
        self._places = {kind: tuple(place.split(".")) for kind, place in places.items()}

    def __repr__(self) -> str:
        return f"Kinds({', '.join(self._places)})"

    @property
    def modules(self) -> dict[str, str]:
        """The module of each class, for `deferred`."""
        return {name: module for module, name in self._places.values()}

    def members(self, kinds: Collection[str] | None = None) -> list[type[T]]:
        """The classes of these kinds, as far as they are of the family, or of all."""
        places = [place for kind, place in self._places.items() if kinds is None or kind in kinds]
        return [getattr(import_module(f"{self._package}.{module}"), name) for module, name in places]
