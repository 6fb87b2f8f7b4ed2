"""What a ParaView user would find in NAME.xmf2, read with VTK's own XDMF reader."""

from __future__ import annotations

from typing import Any

import numpy as np


def frames(path: Any, name: str = "rho") -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Time, cell values and cell sizes of every frame."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    reader = vtk.vtkXdmfReader()
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    times = reader.GetOutputInformation(0).Get(vtk.vtkStreamingDemandDrivenPipeline.TIME_STEPS())
    found = []
    for time in times:
        reader.UpdateTimeStep(time)
        grid = _leaf(reader.GetOutputDataObject(0))
        sizes = vtk.vtkCellSizeFilter()
        sizes.SetInputData(grid)
        sizes.Update()
        data = sizes.GetOutput().GetCellData()
        measure = sum(vtk_to_numpy(data.GetArray(kind)) for kind in ("Length", "Area", "Volume") if data.GetArray(kind))
        values = vtk_to_numpy(grid.GetCellData().GetArray(name)).astype(float)
        found.append((time, values.copy(), np.array(measure)))
    return found


def _leaf(data: Any) -> Any:
    while data.IsA("vtkCompositeDataSet"):
        walk = data.NewIterator()
        walk.InitTraversal()
        data = walk.GetCurrentDataObject()
    return data
