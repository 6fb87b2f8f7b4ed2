"""Open results with a real ParaView as a user does (Open, Apply); to be run by pvpython.

    xvfb-run -a pvpython check_paraview.py RESULT.xmf2 ... --nt 5 --expect-integral 1,1,1,1,1

Exit code: 0 right; 2 not opened; 3 the array is not on cells; 4 times are missing; 5 an integral is wrong;
6 ParaView would ask the user to choose a reader.
"""

import argparse
import os
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--array", default="rho")
    parser.add_argument("--nt", type=int, required=True)
    parser.add_argument("--expect-integral", required=True)
    parser.add_argument("--tol", type=float, default=1e-9)
    given = parser.parse_args()

    for file in given.files:
        check(str(Path(file).resolve()), given)
    leave(0, f"{len(given.files)} results are right")


def check(path, given):
    """Open one result; leave with what is wrong with it."""
    from paraview.simple import OpenDataFile

    offered = readers(path)
    source = OpenDataFile(path)
    if source is None:
        leave(2, f"{path}: not opened")
    source.UpdatePipeline()
    steps = getattr(source, "TimestepValues", None)
    times = list(steps) if hasattr(steps, "__len__") else [steps] if steps is not None else []
    if len(times) != given.nt:
        leave(4, f"{path}: {len(times)} times, expected {given.nt}")
    if source.CellData.GetArray(given.array) is None:
        leave(3, f"{path}: {given.array} is not a cell array")
    expected = [float(part) for part in given.expect_integral.split(",")]
    found = integrals(source, given.array, times)
    if any(abs(one - other) > given.tol for one, other in zip(found, expected, strict=True)):
        leave(5, f"{path}: integrals {found}, expected {expected}")
    if len(offered) != 1:
        leave(6, f"{path}: readers {offered}")


def readers(path):
    """The readers that ParaView would offer; more than one means a dialog."""
    from paraview import servermanager

    factory = servermanager.vtkSMProxyManager.GetProxyManager().GetReaderFactory()
    factory.UpdateAvailableReaders()
    offered = factory.GetReaders(path, servermanager.ActiveConnection.Session)
    return [offered.GetString(3 * index + 1) for index in range(offered.GetNumberOfStrings() // 3)]


def integrals(source, array, times):
    """The integral of a cell array at each time."""
    from paraview import servermanager
    from paraview.simple import IntegrateVariables

    total, found = IntegrateVariables(Input=source), []
    for time in times:
        total.UpdatePipeline(time)
        data = servermanager.Fetch(total)
        if data.IsA("vtkCompositeDataSet"):
            walk = data.NewIterator()
            walk.InitTraversal()
            data = walk.GetCurrentDataObject()
        found.append(data.GetCellData().GetArray(array).GetComponent(0, 0))
    return found


def leave(code, message):
    print(message)
    sys.stdout.flush()
    os._exit(code)  # ParaView's own shutdown can crash and would hide the code


if __name__ == "__main__":
    main()
