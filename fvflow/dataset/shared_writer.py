"""Writing one result from all processes of a run: the first one has the file, the others give it their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fvflow.dataset.checkpoint import Tree
from fvflow.dataset.frame import Frame
from fvflow.dataset.layout import Layout
from fvflow.dataset.writer import Writer
from fvflow.parallel import Pieced, world

_RHO = "rho"


class SharedWriter:
    """A `Writer` on the first process. All processes call the same methods, and meet the same errors."""

    def __init__(self, layout: Layout, make: Callable[[], Writer]) -> None:
        """`make` gives the writer of the layout; raises OutputError as that does."""
        self._comm, self._made, self.layout = world(), list[Writer](), layout
        self.times: list[float] = []

        def begin() -> tuple[str, str]:
            self._made.append(writer := make())
            return writer.history, writer.run

        self.history, self.run = self._comm.by_first(begin)

    @property
    def _writer(self) -> Writer:
        """The writer; there is one on the first process only."""
        return self._made[0]

    def __enter__(self) -> SharedWriter:
        self._comm.on_first(lambda: self._writer.__enter__())
        self._note_times()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        for writer in self._made:  # no other process waits for this one, which may be alone with its error
            writer.__exit__(kind, error, trace)

    def _note_times(self) -> None:
        self.times = self._comm.by_first(lambda: self._writer.times)

    def append(self, frame: Frame) -> None:
        """Store one frame."""

        def use(arrays: Mapping[str, Any]) -> None:
            fields = {name: values for name, values in arrays.items() if name != _RHO}
            self._writer.append(replace(frame, density=arrays[_RHO], fields=fields))

        self._comm.collect({_RHO: frame.density, **frame.fields}, use)
        self._note_times()

    def tick(self) -> None:
        """Let the frames reach the disk if some are old enough."""
        for writer in self._made:
            writer.tick()

    def checkpoint(self, tree: Mapping[str, Tree], place: str) -> None:
        """Keep what is needed to go on after the frames so far; `place` says where."""
        self._with_whole(tree, lambda whole: self._writer.checkpoint(whole, place))

    def complete(
        self,
        attributes: Mapping[str, Any],
        figures: Mapping[str, float],
        tree: Tree = None,
        about_to_replace: Callable[[], None] = lambda: None,
    ) -> None:
        """Complete the result, as `Writer.complete`."""
        self._with_whole(tree, lambda whole: self._writer.complete(attributes, figures, whole, about_to_replace))

    def interrupted(
        self,
        attributes: Mapping[str, Any],
        figures: Mapping[str, float],
        tree: Tree,
        about_to_replace: Callable[[], None],
    ) -> bool:
        """Complete the result by the frames so far, as `Writer.interrupted`; returns whether it did."""
        done: list[bool] = []

        def use(whole: Tree) -> None:
            done.append(self._writer.interrupted(attributes, figures, whole, about_to_replace))

        self._with_whole(tree, use)
        return self._comm.by_first(lambda: done[0])

    def _with_whole(self, tree: Tree, use: Callable[[Tree], None]) -> None:
        """Let the first process use a tree with arrays of the whole mesh in place of those of its cells."""
        parts = dict(_parts(tree))
        self._comm.collect(parts, lambda arrays: use(_exchanged(tree, {name: whole(arrays[name]) for name in parts})))


def divided_tree(tree: Tree, cells: int) -> Tree:
    """A tree with the cells of this process in place of arrays (cell,) of the whole mesh, which has so many."""
    if isinstance(tree, Mapping):
        return {name: divided_tree(value, cells) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [divided_tree(value, cells) for value in tree]
    return world().part(tree) if getattr(tree, "shape", None) == (cells,) else tree


def _parts(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of the arrays of a tree that are parts of arrays of the whole mesh."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _parts(value, f"{path}.{name}")
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _parts(value, f"{path}.{index}")
    elif world().holds_part(tree):
        yield path, tree


def _exchanged(tree: Tree, whole: Mapping[str, Any], path: str = "") -> Tree:
    """The tree with other arrays at some paths."""
    if isinstance(tree, Mapping):
        return {name: _exchanged(value, whole, f"{path}.{name}") for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_exchanged(value, whole, f"{path}.{index}") for index, value in enumerate(tree)]
    return whole.get(path, tree)


def whole(value: Any) -> Any:
    """An array (cell,) that may be in pieces."""
    return value.whole() if isinstance(value, Pieced) else value
