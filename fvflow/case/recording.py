"""A run into a file: frames, checkpoints, and what becomes of them however the run ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow import dataset, paraview
from fvflow.case.checkpoints import CheckpointSchedule, place, require_sound, snapshot
from fvflow.case.simulation import Simulation
from fvflow.dataset import Lock, Tree, continued, divided_tree
from fvflow.dataset.groups import SIDES
from fvflow.errors import CaseError, NumericsError, OutputError
from fvflow.march import Watch, Watchers
from fvflow.parallel import world

if TYPE_CHECKING:
    import xarray

    from fvflow.case.result_evaluation import ParseCase

_SAMPLES = 10_000
_PATIENCE = 0.5  # seconds for which a process that fails waits for the others, to keep the last state with them


def compare(simulation: Simulation, ds: xarray.Dataset, parse: ParseCase) -> None:
    """Add the figures of a comparison with carried samples to those of a run, or the reason why there are none."""
    from fvflow.case.side_figures import sides_of

    try:
        found = sides_of(ds, parse, _SAMPLES, 0, "auto").figures
    except (CaseError, NumericsError) as error:
        simulation.sides_fault = f"its sides were not compared: {error}"
        return
    statistics = simulation.statistics
    statistics.solved = {**statistics.solved, **{SIDES + name: value for name, value in found.items()}}


@dataclass(frozen=True)
class Recording:
    """A simulation and the file that its frames go to."""

    simulation: Simulation
    path: Path
    opening: Mapping[str, Any]
    """Global attributes that are known before the run."""
    closing: Callable[[], Mapping[str, Any]]
    """Those that are known after it."""
    identity: Mapping[str, Tree]
    """What says of which run a checkpoint is."""
    parse: ParseCase
    """What makes the case of the text in the result."""
    compares: bool = False
    """Whether the result is to be compared with samples that are carried along it."""

    def run(
        self,
        watch: Watch | None,
        tell: Callable[[str], None],
        *,
        discard: bool,
        checkpoint: Tree | None,
        lock: Lock | None,
    ) -> None:
        """Run to the end; see `Case.write`."""
        world().on_first(lambda: paraview.check(self.path))
        opening, run, resumed = dict(self.opening), "", None
        if checkpoint is not None:
            checkpoint = divided_tree(checkpoint, self.simulation.mesh.extent.cells)
            require_sound(checkpoint, self.simulation.mesh, self.simulation.statistics)
            opening["history"] = continued(checkpoint["history"])
            run, resumed = checkpoint["run"], checkpoint["frames"]
        layout = self.simulation.layout()

        def make() -> dataset.Writer:
            return dataset.Writer(
                self.path, layout, opening, tell, discard=discard, resumed=resumed, run=run, lock=lock
            )

        with dataset.SharedWriter(layout, make) as writer:
            schedule = CheckpointSchedule(
                self.simulation.output,
                lambda: self._snapshot(writer),
                lambda tree: writer.checkpoint(tree, place(tree)),
            )
            watchers = Watchers(lambda state: writer.tick(), schedule, *([] if watch is None else [watch]))
            try:
                for frame in self.simulation.frames(watchers, checkpoint):
                    writer.append(frame)
            except BaseException as error:
                if world().arrived(_PATIENCE):
                    self._keep(writer, error)
                raise
            tree = self._snapshot(writer)
            if self.compares:
                with dataset.read(dataset.parts_of(self.path)) as ds:
                    compare(self.simulation, ds, self.parse)
            solved = self.simulation.statistics.solved
            writer.complete(self.closing(), solved, tree, self._remove_description)
        self._describe(writer)

    def _snapshot(self, writer: dataset.SharedWriter) -> Tree | None:
        reached, statistics = self.simulation.reached, self.simulation.statistics
        if reached is None or not (self.simulation.flow.steps_in_time or reached[0].iterate is not None):
            return None
        return snapshot(*reached, statistics, {**self.identity, "history": writer.history, "run": writer.run})

    @property
    def _ended(self) -> bool:
        """Whether the last state has been reached and its frame written."""
        reached = self.simulation.reached
        return reached is not None and reached[0].iterate is None and reached[0].time == self.simulation.times.stop

    def _keep(self, writer: dataset.SharedWriter, error: BaseException) -> None:
        """Keep the last state and, if a signal asked to stop, complete the result by the frames so far."""
        tree = self._snapshot(writer)
        if tree is None:
            return
        try:
            writer.checkpoint(tree, place(tree))
            if isinstance(error, Exception):
                return
            ended, closing = self._ended, dict(self.closing())
            if not ended:
                del closing["checks_missed"]
            if writer.interrupted(closing, self.simulation.statistics.solved, tree, self._remove_description):
                self._describe(writer)
                error.add_note(
                    f"the run had come to its end: its result is in {self.path}"
                    if ended
                    else f"the frames so far are in {self.path}, up to t = {writer.times[-1]:g}; "
                    f"fvflow resume {self.path} goes on {place(tree)}"
                )
        except OutputError as failure:
            error.add_note(str(failure))

    def _remove_description(self) -> None:
        """Remove the file that ParaView opens, so that an old one never describes a new result."""
        paraview.remove(self.path)

    def _describe(self, writer: dataset.SharedWriter) -> None:
        """Write the file that ParaView opens."""
        layout = writer.layout

        def write() -> None:
            fields, shapes = tuple(layout.fields()), layout.particle_shapes
            described = paraview.Description.of(layout.mesh, writer.times, fields, layout.single, shapes)
            paraview.write(self.path, described)

        world().on_first(write)
