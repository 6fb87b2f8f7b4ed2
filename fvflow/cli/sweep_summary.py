"""What the commands tell of the result of a sweep: a row a case, as a table, csv or JSON."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.cli.printing import plain, print_columns, print_json, print_table
from fvflow.dataset.sweeps import sweep_figures, swept_paths
from fvflow.errors import OutputError

if TYPE_CHECKING:
    import xarray

    from fvflow.dataset.sweeps import Column, SweepTable

EXIT_CHECK = 6
_MOST_ROWS, _MOST_FIGURES, _MOST_TOLD = 60, 6, 10


class SweepSummary:
    """The cases of a sweep by row, in the order of the result."""

    def __init__(self, ds: xarray.Dataset | SweepTable, file: Path) -> None:
        self.file, self.title = file, str(ds.attrs.get("title", file.stem))
        coordinates, dims = swept_paths(ds), ds["status"].dims
        self.paths, self.shape = list(coordinates), ds["status"].shape
        self.values = {path: self._spread(values, dims) for path, values in coordinates.items()}
        self.figure_names = sweep_figures(ds)
        self.figures = {
            name: ds[name].values.ravel() for name in map(str, ds.data_vars) if ds[name].attrs.get("role") == "figure"
        }
        self.texts = {name: [str(text) for text in ds[name].values.ravel()] for name in ("status", "error", "remarks")}
        self.codes = [int(code) for code in ds["exit_code"].values.ravel()]
        self.hashes = [str(text) for text in ds["case_hash"].values.ravel()]

    def _spread(self, values: xarray.DataArray | Column, dims: Sequence[Any]) -> list[Any]:
        """The values of a path for each case."""
        axis = [size if dim == values.dims[0] else 1 for dim, size in zip(dims, self.shape, strict=True)]
        return [plain(value) for value in np.broadcast_to(values.values.reshape(axis), self.shape).ravel()]

    @property
    def count(self) -> int:
        """The number of cases."""
        return len(self.codes)

    def count_of(self, status: str) -> int:
        """The number of cases that ended so."""
        return self.texts["status"].count(status)

    @property
    def exit_code(self) -> int:
        """0; or that of the first case that failed; or 6 if a check is missed."""
        failed = [code for code in self.codes if code not in (0, EXIT_CHECK)]
        return failed[0] if failed else EXIT_CHECK if EXIT_CHECK in self.codes else 0

    def sentences(self, remarks: bool = True) -> Iterator[str]:
        """What went wrong, each message once with the number of its cases."""
        found: dict[str, list[int]] = {}
        for number, text in enumerate(self.texts["error"]):
            if text:
                found.setdefault(text, []).append(number)
        for text, numbers in list(found.items())[:_MOST_TOLD]:
            where = ", ".join(f"{path} = {values[numbers[0]]}" for path, values in self.values.items())
            more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
            yield f"case {where}{more}: {text}"
        if len(found) > _MOST_TOLD:
            yield f"and {len(found) - _MOST_TOLD} other messages; they are in `error` of the result"
        if remarks and (noted := sum(map(bool, self.texts["remarks"]))):
            yield f"{noted} cases have remarks; fvflow info {self.file} tells them"

    def remarks(self) -> dict[str, int]:
        """Each remark with the number of its cases."""
        lines = [line for text in self.texts["remarks"] for line in text.splitlines()]
        return {line: lines.count(line) for line in dict.fromkeys(lines)}

    @property
    def shown_figures(self) -> list[str]:
        """The figures of a table: those of the flow first, as many as there is room for."""
        return self.figure_names[:_MOST_FIGURES]

    def print(self, wall: float | None = None) -> None:
        """Print the table."""
        names = self.shown_figures
        rows = [
            [
                *(_told(values[number]) for values in self.values.values()),
                self.texts["status"][number],
                *(_told(self.figures[name][number]) for name in names),
            ]
            for number in range(min(self.count, _MOST_ROWS))
        ]
        if self.count > _MOST_ROWS:
            rows.append(["..."] * (len(self.paths) + 1 + len(names)))
        print_columns(self._heading(wall), [*self.paths, "status", *names], rows)

    def _heading(self, wall: float | None) -> str:
        counts = ((self.count_of(status), status) for status in ("missed", "failed"))
        told = [f"{self.count} cases", *(f"{count} {status}" for count, status in counts if count)]
        return f"{self.title}: {', '.join(told)}, in {self.file}" + ("" if wall is None else f" in {wall:.2f} s")

    def tell(self, as_json: bool) -> int:
        """Print all of it, with the messages of cases that failed and the remarks on the others; returns 0."""
        if as_json:
            print_json(self.json)
            return 0
        self.print()
        rows = [("failed or missed", sentence) for sentence in self.sentences(remarks=False)]
        rows += [("remark", f"{line} ({count} of {self.count} cases)") for line, count in self.remarks().items()]
        if rows:
            print_table("", rows)
        return 0

    @property
    def json(self) -> dict[str, Any]:
        """All of it by name."""
        cases = [
            {
                **{path: values[number] for path, values in self.values.items()},
                "status": self.texts["status"][number],
                "exit_code": self.codes[number],
                "case_hash": self.hashes[number],
                "error": self.texts["error"][number],
                "remarks": self.texts["remarks"][number].splitlines(),
                **{name: float(values[number]) for name, values in self.figures.items()},
            }
            for number in range(self.count)
        ]
        counts = {status: self.count_of(status) for status in ("ok", "missed", "failed")}
        return {"output": str(self.file), "title": self.title, "swept": self.paths, **counts, "cases": cases}

    def write_csv(self, path: Path) -> None:
        """Write a line a case with all figures; raises OutputError."""
        fixed = ("status", "exit_code", "case_hash", "error")
        try:
            with open(path, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow([*self.paths, *fixed, *self.figures])
                for number, case in enumerate(self.json["cases"]):
                    figures = [repr(float(values[number])) for values in self.figures.values()]
                    writer.writerow([*(case[name] for name in (*self.paths, *fixed)), *figures])
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from None

    @staticmethod
    def unfinished(folder: Path) -> UnfinishedSweep | None:
        """The summary of NAME.parts of a sweep that was cut short; None if it is something else."""
        return UnfinishedSweep(folder) if folder.is_dir() and (folder / "sweep.json").is_file() else None


class UnfinishedSweep:
    """What NAME.parts holds of a sweep under way or cut short."""

    def __init__(self, folder: Path) -> None:
        from fvflow.studies.sweeps.store import described, finished

        self.folder, self._axes = folder, described(folder)
        self.statuses = [outcome.status for outcome in finished(folder)]

    def tell(self, as_json: bool) -> int:
        """Print it; returns 0."""
        counts = {status: self.statuses.count(status) for status in ("ok", "missed", "failed")}
        if as_json:
            print_json({"file": str(self.folder), "unfinished": True, "sweep": self._axes.strip(" ()"), **counts})
            return 0
        finished = [(f"cases {status}", str(count)) for status, count in counts.items()]
        again = "the sweep was cut short, or is under way; the same fvflow sweep goes on with these cases"
        print_table(f"{self.folder}{self._axes}", [*finished, ("unfinished", again)])
        return 0


def _told(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.6g}"
    return str(value)
