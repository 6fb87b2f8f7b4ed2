"""Files of strangers: pipes, sizes, control characters, damage and long lists; all that comes of them is one line."""

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path

import netCDF4
import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.case.document import LARGEST, MOST_KEYS, MOST_PARTS
from fvflow.cli import main
from fvflow.cli.printing import escaped
from fvflow.errors import CaseError, OutputError
from fvflow.input_files import Admission, admission, require_input, require_regular
from fvflow.mesh import Gmsh, Meshio, stored_field
from fvflow.mesh.netcdf_probe import damage
from tests.damage import damaged

CASE = """
title: {title}
mesh: {{kind: box, lower: [-4], upper: [4], cells: [40]}}
flow: {{kind: fokker-planck, potential: 0.5*x**2, epsilon: 1}}
initial: {initial}
times: {{end: 0.2, step: 0.1, save: 0.1}}
"""


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def written(folder, title="a title", initial="{kind: uniform}"):
    file = folder / "case.yaml"
    file.write_text(CASE.format(title=title, initial=initial))
    return file


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    assert run("run", written(folder), "-q", "-o", folder / "r.nc") == 0
    return folder / "r.nc"


# what is opened


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_regular_file_is_refused_before_it_is_opened(kind, tmp_path, monkeypatch, capfd):
    odd = Path("/dev/zero") if kind == "device" else tmp_path / "odd.nc"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    monkeypatch.setattr("builtins.open", lambda *arguments, **options: pytest.fail("it is opened"))
    for demand in (require_regular, require_input):
        with pytest.raises(CaseError, match="and no regular file; give a mesh"):
            demand(odd, "a mesh")
    with pytest.raises(OutputError, match="and no regular file; give the path of a case file"):
        Case.read(odd)
    for build in (Gmsh(file=f"{odd}").build, Meshio(file=f"{odd}").build, lambda: stored_field(f"{odd}", "rho", None)):
        with pytest.raises(CaseError, match="and no regular file"):
            build()
    if kind != "folder":
        with pytest.raises(OutputError, match=r"and no regular file; give the \.nc file of a run"):
            fvflow.read(odd)


DIRECTORIES = [
    "check d.yaml",
    "run d.yaml",
    "run case.yaml -o d.nc",
    "run case.yaml -o d.yaml/",
    "run case.yaml -o e.nc",  # e.xmf2 is one
    "run case.yaml -o f.nc",  # f.parts/frames.log is one
    "run case.yaml -o no/such.nc",
    "run case.yaml -o case.yaml/r.nc",
    "resume d.nc",
    "resume d.yaml",
    "resume d.parts",
    "info d.nc",
    "plot d.nc",
    "plot r.nc -o d.png",
    "xmf d.nc",
    "new d.yaml",
    "check case.yaml --set mesh={kind: gmsh, file: d.msh}",
    "check case.yaml --set mesh={kind: gmsh, file: d.geo}",
    "check case.yaml --set mesh={kind: meshio, file: d.vtu}",
    "check case.yaml --set mesh={kind: ugrid, file: d.nc}",
    "check case.yaml --set initial={kind: file, file: d.nc}",
    "check case.yaml --set initial={kind: table, file: d.csv}",
    "check case.yaml --set initial={kind: samples, file: d.npy}",
    "check case.yaml --set flow.potential={kind: table, file: d.nc, field: V}",
]


@pytest.mark.parametrize("command", DIRECTORIES)
def test_directories_in_the_place_of_files_are_told(command, result, tmp_path, monkeypatch, capsys):
    """One sentence that names it, and the directory stays."""
    monkeypatch.chdir(tmp_path)
    for kind in ("yaml", "nc", "parts", "png", "msh", "geo", "vtu", "csv", "npy"):
        Path(f"d.{kind}").mkdir()
    Path("e.xmf2").mkdir()
    Path("f.parts/frames.log").mkdir(parents=True)
    Path("r.nc").write_bytes(result.read_bytes())
    case = written(tmp_path).name
    assert run(*command.split(" ", 3)) == (3 if "--set" in command else 5)
    told = capsys.readouterr().err
    assert len([line for line in told.splitlines() if not line.startswith("    ")]) == 1, told
    assert "Errno" not in told
    reasons = ("is a directory", "Is a directory", "no directory", "contains no frames", "holds no checkpoint")
    assert any(reason in told for reason in (*reasons, "ends in .nc", "exists already")), told
    assert all(Path(name).is_dir() for name in ("d.nc", "d.yaml", "d.png", "e.xmf2", "f.parts/frames.log"))
    assert Path(case).is_file()


def test_what_is_in_the_way_is_named(tmp_path, monkeypatch, capsys):
    """When it is not the result itself that cannot be written."""
    monkeypatch.chdir(tmp_path)
    case = written(tmp_path)
    Path("case.parts").touch()
    assert run("run", case) == 5
    assert capsys.readouterr().err.startswith(
        "case.parts: is a file, but a run keeps its frames in a directory of that name"
    )


@pytest.mark.parametrize("name", ["case.nc", "case.xmf2"])
def test_a_pipe_in_the_place_of_a_result_is_not_waited_for(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(name)
    assert run("run", written(tmp_path)) == 5
    assert "would be overwritten" in (told := capsys.readouterr().err) or "no regular file" in told


def test_cases_of_more_than_a_mebibyte_are_refused_before_they_are_opened(tmp_path, monkeypatch):
    file = tmp_path / "case.yaml"
    file.write_bytes(b"#" * (LARGEST + 1))
    monkeypatch.setattr("builtins.open", lambda *arguments, **options: pytest.fail("it is opened"))
    with pytest.raises(CaseError, match=rf"case file has at most {LARGEST}: keep data in files"):
        Case.read(file)


def test_large_files_are_refused_before_they_are_opened_unless_the_command_allows_them(tmp_path, capsys):
    """A sparse file, which takes no room; --largest is no key of a case."""
    table = tmp_path / "large.csv"
    with open(table, "wb") as file:
        file.truncate(5 * 2**30)
    case = written(tmp_path, initial="{kind: samples, file: large.csv}")
    started = time.perf_counter()
    assert run("check", case) == 3
    assert "has 5 GiB; at most 4 are read (--largest allows more)" in capsys.readouterr().err
    assert time.perf_counter() - started < 2
    assert run("check", case, "--largest", "1e-9") == 3
    assert "at most" in capsys.readouterr().err
    assert run("check", case, "--largest", "none") == 2
    with open(table, "wb") as file:
        file.truncate(3000)
    assert run("check", case, "--largest", "1e-6") == 3
    assert "at most 1e-06 are read" in capsys.readouterr().err
    assert admission() == Admission()


def test_only_the_command_trusts_a_file(tmp_path, capsys):
    geometry = f'SystemCall "touch {tmp_path}/canary";'
    mesh = {"kind": "gmsh", "geometry": 'SetFactory("OpenCASCADE"); Rectangle(1) = {0, 0, 0, 1, 1};\n' + geometry}
    case = written(tmp_path)
    case.write_text(case.read_text().replace("{kind: box, lower: [-4], upper: [4], cells: [40]}", json.dumps(mesh)))
    assert run("check", case) == 3
    assert "SystemCall runs commands; remove it, or give --trust" in capsys.readouterr().err
    assert run("check", case, "--set", "mesh.trust=true") == 3
    assert not (tmp_path / "canary").exists()
    assert run("check", case, "--trust") == 0
    assert (tmp_path / "canary").exists()


# what is printed


def test_control_characters_are_shown_escaped_wherever_they_are_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bad = r"a\u001b[31m\u202eb\nforged: line"
    case = written(tmp_path, title=f'"{bad}"')
    shown = r"a\x1b[31m\u202eb\nforged: line"
    for command in (("check", case), ("run", case), ("run", case, "-q"), ("info", "case.nc"), ("plot", "case.nc")):
        assert run(*command) == 0
        told = "".join(capsys.readouterr())
        assert (shown in told) == (command[0] != "plot")
        assert not set("\x1b\u202e") & set(told)
    with netCDF4.Dataset("case.nc", "a") as file:
        file.setncattr("remarks", "\x1b]0;owned\x07")
        file.setncattr("evil\u202ename", "\x9b2J")
    assert run("info", "case.nc") == 0
    told = capsys.readouterr().out
    assert r"\x1b]0;owned\x07" in told
    assert r"evil\u202ename" in told
    assert r"\x9b2J" in told
    assert run("check", "no\x1b[2J\nsuch.yaml") == 5
    assert capsys.readouterr().err.startswith(r"no\x1b[2J\nsuch.yaml: cannot be read")
    assert escaped("été\t\u00b5") == "été\t\u00b5"


# damage


def test_damaged_results_give_their_answer_or_one_line():
    """Through every command that reads one, in seconds and memory as promised; more of them by hand, with --count."""
    command = [sys.executable, "-m", "tests.damage", "--count", "20", "--seed", "10"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^(?:info|plot|xmf|resume|initial|onto|read) ", done.stdout, re.MULTILINE)) == 7


@pytest.fixture
def broken(tmp_path):
    """A compressed result, of which a frame in the middle is no longer what zlib wrote; nothing else is wrong."""
    case = Case.parse(CASE.format(title="a title", initial="{kind: uniform}"))
    case = case.replace({"mesh.cells": [4000], "output": {"compression": 1}, "times.save": 0.1})
    case.write(tmp_path / "broken.nc")
    data = (tmp_path / "broken.nc").read_bytes()
    starts = [found.start() for found in re.finditer(rb"\x78\x01", data)]
    frames = [start for start in starts if _inflated(data[start:]) == 8 * 4000 + 4]  # and a checksum
    assert len(frames) == 3
    damage_at = frames[1] + 50
    (tmp_path / "broken.nc").write_bytes(data[:damage_at] + bytes(200) + data[damage_at + 200 :])
    return tmp_path / "broken.nc"


def _inflated(data):
    with contextlib.suppress(zlib.error):
        return len(zlib.decompressobj().decompress(data))
    return 0


def test_values_that_are_damaged_are_told_when_they_are_loaded(broken):
    """In Python, where a result is opened in the process itself and its values are loaded when they are used."""
    with fvflow.read(broken) as ds:
        assert ds.rho[0].values.sum() > 0
        assert ds.mass.values.shape == (3,)
        for load in (lambda: ds.rho[1].values, ds.load, lambda: ds.rho.max()):
            with pytest.raises(OutputError, match=r"broken\.nc: rho is damaged \(.*\); write it again$"):
                load()


def test_a_damaged_result_is_not_opened_by_a_run_in_its_place(broken, monkeypatch, capsys):
    (broken.parent / "case.yaml").write_text(CASE.format(title="a title", initial="{kind: uniform}"))
    monkeypatch.setattr("netCDF4.Dataset", lambda *arguments, **options: pytest.fail("it is opened"))
    before = broken.read_bytes()
    assert run("run", broken.parent / "case.yaml", "-q", "-o", broken) == 5
    assert "), and would be overwritten; remove it or use another name" in capsys.readouterr().err
    assert broken.read_bytes() == before


@pytest.mark.parametrize("seed", range(24))
def test_damaged_meshes_give_one_line(seed, tmp_path):
    told = ""
    for source in ("disc.msh", "ball.msh"):
        (tmp_path / "d.msh").write_bytes(damaged(Path("cases", source).read_bytes(), random.Random(seed))[1])
        try:
            Gmsh(file=f"{tmp_path}/d.msh", centres="centroids").build()
        except CaseError as refused:
            told += str(refused)
    assert "\n" not in told


def test_arrays_that_a_damaged_mesh_claims_to_hold_are_refused(tmp_path, monkeypatch):
    def greedy(path):
        np.empty(2**47)

    monkeypatch.setattr("meshio.gmsh.read", greedy)
    (tmp_path / "d.msh").write_bytes(b"x")
    with pytest.raises(CaseError, match="does not fit into memory, or is damaged"):
        Gmsh(file=f"{tmp_path}/d.msh").build()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("while True: pass", "takes more than 2 s, or crashes"),
        ("import ctypes; ctypes.string_at(0)", "takes more than 2 s, or crashes"),
        ("bytearray(2**32)", "MemoryError"),
        ("raise RuntimeError('NetCDF: HDF error')", "NetCDF: HDF error"),
        ("raise ImportError", ""),
    ],
)
def test_libraries_that_hang_crash_or_are_greedy_do_so_elsewhere(program, reason, tmp_path, monkeypatch, result):
    """The program of the other process, with a library that misbehaves."""
    from fvflow.mesh import netcdf_probe

    text = Path(netcdf_probe.__file__).read_text()
    opening = "with netCDF4.Dataset(path) as file:"
    assert text.count(opening) == 1
    text = text.replace(opening, f"if True:\n        {program}\n        file = None")
    (tmp_path / "probe.py").write_text(text)
    monkeypatch.setattr(netcdf_probe, "__file__", str(tmp_path / "probe.py"))
    copy = tmp_path / "copy.nc"
    copy.write_bytes(result.read_bytes())
    assert reason in (said := damage(copy))
    assert bool(said) == bool(reason)


def test_the_other_process_takes_no_module_from_the_working_directory(tmp_path, monkeypatch, result):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "netCDF4.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    copy = tmp_path / "copy.nc"
    copy.write_bytes(result.read_bytes())
    assert damage(copy) == ""
    assert not (tmp_path / "canary").exists()


def test_values_that_turn_out_to_be_damaged_are_told_as_such(result):
    from fvflow.dataset import opened

    for fault in (RuntimeError("NetCDF: HDF error"), KeyError("rho"), ValueError("two\nlines")):
        match = r"r\.nc: is damaged or incomplete \([^\n]*\); write it again$"
        with pytest.raises(OutputError, match=match), opened(result):
            raise fault


# long lists


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: {" + ",".join(f"k{i}: k0" for i in range(80_000)) + "}", f"at most {MOST_KEYS} keys"),
        ("".join(f"k{i}: 1\n" for i in range(90_000)), f"a mapping has at most {MOST_KEYS} keys"),
        (
            "initial: {kind: mixture, components: [" + "{mean: [0], covariance: [[1]]}," * 15_000 + "]}",
            f"a list has at most {MOST_PARTS} mappings; give many points as a file",
        ),
    ],
)
def test_long_lists_are_refused_by_a_cap_with_its_name(text, message):
    started = time.process_time()
    with pytest.raises(CaseError, match=message):
        Case.parse(text)
    assert time.process_time() - started < 2


def test_commands_know_their_limits_without_reading_anything():
    done = subprocess.run([sys.executable, "-m", "fvflow", "check", "--help"], capture_output=True, text=True)
    assert "default: 4" in done.stdout
    assert "--trust" in done.stdout
