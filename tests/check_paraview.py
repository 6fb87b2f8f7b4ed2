#!/usr/bin/env pvpython
"""Open a result with a real ParaView the way a user does (Open, Apply) and say what came of it.

    xvfb-run -a pvpython check_paraview.py RESULT.xmf2 --nt 5 --expect-integral 1,1,1,1,1 [--png picture.png]

Exit code: 0 right; 2 not opened; 3 the array is not on cells; 4 times are missing; 5 an integral is wrong;
6 ParaView would ask the user to choose a reader.
"""

import argparse
import os
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file")
parser.add_argument("--array", default="rho")
parser.add_argument("--nt", type=int, required=True)
parser.add_argument("--expect-integral")
parser.add_argument("--tol", type=float, default=1e-9)
parser.add_argument("--png")
args = parser.parse_args()

from paraview import servermanager  # noqa: E402
from paraview.simple import (  # noqa: E402
    ColorBy,
    CreateView,
    GetParaViewVersion,
    IntegrateVariables,
    OpenDataFile,
    Render,
    ResetCamera,
    SaveScreenshot,
    Show,
)


def readers(path):
    """The readers that ParaView would offer; more than one means a dialog."""
    factory = servermanager.vtkSMProxyManager.GetProxyManager().GetReaderFactory()
    factory.UpdateAvailableReaders()
    offered = factory.GetReaders(path, servermanager.ActiveConnection.Session)
    return [offered.GetString(3 * i + 1) for i in range(offered.GetNumberOfStrings() // 3)]


def leave(code, message):
    print(message)
    sys.stdout.flush()
    os._exit(code)  # ParaView's own shutdown can crash and would hide the code


path = os.path.abspath(args.file)
offered = readers(path)
print("ParaView", GetParaViewVersion(), "offers", offered)
source = OpenDataFile(path)
if source is None:
    leave(2, "FAIL: not opened")
source.UpdatePipeline()
steps = getattr(source, "TimestepValues", None)
times = list(steps) if hasattr(steps, "__len__") else [steps] if steps is not None else []
if len(times) != args.nt:
    leave(4, f"FAIL: {len(times)} times, expected {args.nt}")
if source.CellData.GetArray(args.array) is None:
    leave(3, f"FAIL: {args.array} is not a cell array")
print(source.GetDataInformation().GetNumberOfCells(), "cells, bounds", source.GetDataInformation().GetBounds())

total, integrals = IntegrateVariables(Input=source), []
for time in times:
    total.UpdatePipeline(time)
    data = servermanager.Fetch(total)
    if data.IsA("vtkCompositeDataSet"):
        walk = data.NewIterator()
        walk.InitTraversal()
        data = walk.GetCurrentDataObject()
    integrals.append(data.GetCellData().GetArray(args.array).GetComponent(0, 0))
    print(f"t={time:g}: integral of {args.array} {integrals[-1]:.15g}")
if args.png:
    view = CreateView("RenderView")
    view.ViewSize, view.ViewTime = [800, 600], times[-1]
    display = Show(source, view)
    ColorBy(display, ("CELLS", args.array))
    display.RescaleTransferFunctionToDataRange(True, False)
    display.SetScalarBarVisibility(view, True)
    ResetCamera(view)
    Render(view)
    SaveScreenshot(args.png, view)
if args.expect_integral:
    expected = [float(x) for x in args.expect_integral.split(",")]
    if len(expected) != len(integrals) or any(abs(a - b) > args.tol for a, b in zip(integrals, expected, strict=True)):
        leave(5, f"FAIL: integrals {integrals}, expected {expected}")
leave(0 if len(offered) == 1 else 6, "ok" if len(offered) == 1 else "FAIL: more than one reader offered")
