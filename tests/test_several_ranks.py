"""Runs on several ranks: the same bits as on one, errors that end all, and sums whose order no division changes."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fvflow
from fvflow import Case
from fvflow.case.several_ranks import undivided
from fvflow.errors import CaseError
from fvflow.mesh import Box, Voronoi, indivisible
from fvflow.parallel import BLOCK, Division
from fvflow.parallel.blocks import cut, owners
from fvflow.sums import inner
from tests.rank_cases import CASES, PLANE
from tests.resume_cases import different

MPIEXEC = shutil.which("mpiexec.hydra", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
ON_TWO = ("split-euler", "uniformisation", "gibbs", "line", "placed", "absorbing-ring", "isothermal", "exact")
"""What runs in every suite; the long tests run all cases."""
ENDLESS = PLANE.format(stepper="kind: split-euler", step="1e-6").replace("end: 0.03", "end: 30")


def started(ranks, *arguments, folder, **options):
    """Start a Python program on so many ranks."""
    environment = {**os.environ, "PYTHONPATH": str(Path(fvflow.__file__).parents[1]), "NUMBA_NUM_THREADS": "1"}
    command = [MPIEXEC, "-n", str(ranks), sys.executable, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes, **options)


def ended(process):
    """The exit code of a program, and the lines that it has printed on stderr."""
    _, printed = process.communicate(timeout=600)
    return process.returncode, printed.splitlines()


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """A folder with the results of one process."""
    folder = tmp_path_factory.mktemp("serial")
    for name in ON_TWO:
        Case.parse(CASES[name], name).write(folder / f"{name}.nc")
    return folder


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    """A folder with the results of two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    assert ended(started(2, "-m", "tests.rank_cases", ".", *ON_TWO, folder=folder)) == (0, [])
    return folder


@pytest.mark.parametrize("name", ON_TWO)
def test_results_of_two_ranks_have_the_bits_of_one(serial, on_two, name):
    """All arrays and attributes of the result, diagnostics and figures among them."""
    assert not different(serial / f"{name}.nc", on_two / f"{name}.nc")


def test_results_of_any_number_of_ranks_have_the_bits_of_one(tmp_path):
    """All cases; on three ranks slabs are uneven, and the middle one has neighbours on both sides."""
    for ranks in (1, 2, 3):
        (tmp_path / str(ranks)).mkdir()
        assert ended(started(ranks, "-m", "tests.rank_cases", str(ranks), folder=tmp_path)) == (0, [])
    for name, text in CASES.items():
        Case.parse(text, name).write(tmp_path / "serial.nc")
        for ranks in (1, 2, 3):
            assert not different(tmp_path / "serial.nc", tmp_path / str(ranks) / f"{name}.nc")


def test_the_gibbs_state_stays_on_two_ranks(on_two):
    """A hundred steps as long as the relaxation; mass and sign stay too."""
    with fvflow.read(on_two / "gibbs.nc") as ds:
        first, last = ds.rho.values[0], ds.rho.values[-1]
        assert np.abs(last / first - 1.0).max() < 1e-13
        assert ds.attrs["mass_drift"] < 1e-14
        assert ds.attrs["minimum"] > 0.0


def test_a_run_goes_on_with_other_numbers_of_ranks(tmp_path):
    """Stopped by signals to the launcher, on two ranks and on one, and ended on three: as if on one all the time."""
    text = ENDLESS.replace("end: 30", "end: 0.03").replace("1e-6", "1e-4")
    (tmp_path / "case.yaml").write_text(text)
    checkpoint = tmp_path / "case.parts" / "checkpoint-1.npz"
    for ranks, command in ((2, ("run", "case.yaml")), (1, ("resume", "case.nc"))):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = started(ranks, "-m", "fvflow", *command, "-q", folder=tmp_path)
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        code, lines = ended(process)
        assert code == 143
        assert lines[0] == "fvflow: terminated"
        assert len(lines) == 2
    code, _ = ended(started(3, "-m", "fvflow", "resume", "case.nc", "-q", folder=tmp_path))
    assert code == 0
    Case.read(tmp_path / "case.yaml").write(tmp_path / "whole.nc")
    assert not different(tmp_path / "whole.nc", tmp_path / "case.nc")


REFUSED = {
    "stepper": ("solver: {kind: direct}", "solver direct runs on one rank; write solver: {kind: krylov}"),
    "walls": ("walls: {left: absorbing}", "mass leaves the domain on one rank only in stepper uniformisation"),
    "output": ("output: {velocity: true}", "is computed on one rank only; leave it out"),
    "exact": ("exact: {kind: log-gas}", "log-gas is compared on one rank; leave it out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_runs_on_one_rank_only_is_named(name):
    asked, sentence = REFUSED[name]
    stepper = {"stepper": f"kind: implicit-euler, {asked}", "walls": "kind: uniformisation"}.get(name, "kind: muscl")
    lines = [line for line in PLANE.format(stepper=stepper, step="0.01").splitlines() if not line.startswith(name)]
    case = Case.parse("\n".join(lines if name == "stepper" else [*lines, asked]))
    assert [fault.message for fault in undivided(case) if sentence in fault.message]


def test_flows_and_meshes_that_run_on_one_rank_only_are_named():
    case = Case.read(Path(__file__).parents[1] / "cases" / "ou-1d-jko.yaml")
    assert "flow gradient-flow runs on one rank; several run flow fokker-planck" in next(undivided(case)).message
    assert "only grids (box, graded) are divided among ranks" in indivisible(
        Voronoi((0.0, 0.0), (1.0, 1.0), (3, 3)).build()
    )
    assert not indivisible(Box((0.0, 0.0), (1.0, 1.0), (9, 9), ("y",)).build())


def test_a_refusal_is_told_once(tmp_path):
    """And no rank has begun to write."""
    (tmp_path / "case.yaml").write_text(CASES["gibbs"].replace("[6, 7, 8]", "[6, 7, 3]"))
    code, lines = ended(started(2, "-m", "fvflow", "run", "case.yaml", folder=tmp_path))
    assert code == 3
    assert sum(line.startswith("case.yaml") for line in lines) == 1
    assert "3 layers of cells across the last axis on 2 ranks; each needs 2: use at most 1" in lines[0]
    assert [file.name for file in tmp_path.iterdir()] == ["case.yaml"]


def test_check_says_what_ranks_hold_and_whether_they_pay(tmp_path):
    case = Case.parse(CASES["split-euler"])
    assert case.check(ranks=2)["ranks"].startswith("up to 481 cells and about 18")
    assert "with fewer than 65536 a rank" in case.check(ranks=2)["ranks"]
    assert "use at most 11" in case.check(ranks=12)["ranks"]
    assert "ranks" not in case.check()


def test_commands_that_run_on_one_rank_are_refused(tmp_path):
    code, lines = ended(started(2, "-m", "fvflow", "schema", folder=tmp_path))
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("2 ranks were started, and this command runs on one: leave out mpiexec")


def test_ranks_that_see_different_cases_are_refused(tmp_path):
    for folder, cells in (("a", 8), ("b", 9)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "case.yaml").write_text(CASES["gibbs"].replace("[6, 7, 8]", f"[6, 7, {cells}]"))
    run = [sys.executable, "-m", "fvflow", "run", "case.yaml"]
    code, lines = ended(started(1, *run[1:], ":", "-n", "1", "-wdir", str(tmp_path / "b"), *run, folder=tmp_path / "a"))
    assert code == 3
    assert lines == [
        "the ranks see different case files, files that these read, or versions of fvflow; give all the same"
    ]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("OMPI_COMM_WORLD", "mpi4py cannot be used (it is of MPICH, and mpiexec of Open MPI)"),
        ("PMI", "mpi4py sees 1: it is of another MPI than mpiexec"),
    ],
)
def test_ranks_of_another_mpi_are_refused(names, told, tmp_path):
    """Begun there, the library would end the process, or take it for the only one, and all would write one file."""
    (tmp_path / "case.yaml").write_text(CASES["gibbs"])
    environment = {**os.environ, f"{names}_RANK": "0", f"{names}_SIZE": "2"}
    command = [sys.executable, "-m", "fvflow", "run", "case.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith(f"2 ranks were started, and {told}; start it by mpiexec.hydra")
    assert len(done.stderr.splitlines()) == 1


FAILING = """
import sys
from fvflow.linalg import SplitSweeps
from fvflow.parallel import world
from fvflow.cli import main
whole, count = SplitSweeps.__call__, [0]
def failing(*arguments, **options):
    count[0] += 1
    if count[0] == 20 and world().rank == 1:
        raise RuntimeError("on one rank")
    return whole(*arguments, **options)
SplitSweeps.__call__ = failing
main(["run", "case.yaml", "-q"])
"""


def test_an_error_of_one_rank_ends_all(tmp_path):
    (tmp_path / "case.yaml").write_text(ENDLESS)
    code, lines = ended(started(2, "-c", FAILING, folder=tmp_path))
    assert code == 1
    assert lines == ["fvflow: internal error: RuntimeError: on one rank", "This is a bug; --debug shows where."]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_all(tmp_path, rank):
    """With one line; the frames and a checkpoint stay."""
    (tmp_path / "case.yaml").write_text(ENDLESS)
    process = started(2, "-m", "fvflow", "run", "case.yaml", "-q", folder=tmp_path, start_new_session=True)
    while not (tmp_path / "case.parts" / "checkpoint-1.npz").exists():
        time.sleep(0.05)
    holder = int((tmp_path / "case.parts" / "lock").read_text().split()[1])
    os.kill(holder if rank == 0 else _other_rank(holder), signal.SIGKILL)
    code, lines = ended(process)
    assert code == 137
    assert lines == [f"fvflow: rank {rank} was killed (SIGKILL), so all end; a run goes on by fvflow resume"]
    with fvflow.read(tmp_path / "case.parts") as ds:
        assert ds.time[0] == 0.0


def _other_rank(pid):
    """The process of the other one of two ranks: the child of the watcher that is the sibling of its watcher."""
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
    watcher = parents[pid]
    siblings = [each for each, parent in parents.items() if parent == parents[watcher] and each != watcher]
    return next(each for each, parent in parents.items() if parent in siblings)


@pytest.mark.parametrize(("layers", "layer"), [(23, 37), (64, 64), (8, 63), (2000, 2048), (12, 30000)])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_blocks_of_sums_are_those_of_one_process(layers, layer, ranks):
    """Each block is whole, or begins in exactly one slab and is completed by the heads of the next ones."""
    division = Division(layers, layer, ranks)
    cells = [division.cells(rank) for rank in range(ranks)]
    begun, pieces = {}, {}
    for first, last in cells:
        head, (begin, end), tail = cut(first, last)
        assert (end - begin) % BLOCK == 0
        for block in range((first + begin) // BLOCK, (first + end) // BLOCK):
            begun[block] = BLOCK
        if tail is not None:
            begun[tail.block] = tail.end - tail.begin
        if head is not None:
            pieces[head.block] = pieces.get(head.block, 0) + head.end - head.begin
    size = {block: begun[block] + pieces.get(block, 0) for block in begun}
    assert list(size) == list(range(-(-layers * layer // BLOCK)))
    assert all(size[block] == BLOCK for block in list(size)[:-1])
    assert sum(size.values()) == layers * layer
    assert sum(owners(cells)) == len(size)


def test_inner_adds_blocks_in_their_order():
    a, b = np.random.default_rng(0).random((2, 3 * BLOCK + 100))
    blocks = [np.dot(a[first : first + BLOCK], b[first : first + BLOCK]) for first in range(0, len(a), BLOCK)]
    assert inner(a, b) == pytest.approx(sum(blocks), rel=1e-15)


def test_too_many_ranks_are_refused():
    with pytest.raises(
        CaseError, match="7 layers of cells across the last axis on 4 ranks; each needs 2: use at most 3"
    ):
        Division(7, 10, 4)
