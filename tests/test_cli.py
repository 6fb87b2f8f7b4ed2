"""The command line as its users meet it: a process with streams, signals and exit codes."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from tests.commands import call

RUN = [sys.executable, "-m", "fvflow"]
OU = str(Path("cases/ou-1d.yaml").resolve())
SHORT = ["--set", "times.end=0.1", "--set", "checks={}"]
LONG = ["--set", "times.end=1e4", "--set", "times.save=1", "--set", "times.step=1e-4"]


def start(*arguments, cwd, **options):
    """A command in a process of its own, where that is the point; `call` runs one in this process."""
    return subprocess.run([*RUN, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, **options)


def test_run_writes_a_result_and_a_summary(tmp_path):
    done = start("run", OU, *SHORT, cwd=tmp_path)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if not line.startswith("t = ")] == [], "progress, if it is slow"
    assert sorted(os.listdir(tmp_path)) == ["ou-1d.nc", "ou-1d.xmf2"]
    for word in ("Ornstein-Uhlenbeck", "ou-1d.nc", "mass drift", "error l1", "unconditional"):
        assert word in done.stdout


def test_json_is_one_object_on_stdout(tmp_path):
    done = call("run", OU, *SHORT, "--json", "-o", "x.nc", cwd=tmp_path)
    figures = json.loads(done.stdout)
    assert figures["output"] == "x.nc"
    assert {"steps", "time", "mass_drift", "minimum", "energy", "error_l1", "wall_s"} <= set(figures)
    assert figures["checks_missed"] == []


def test_quiet_says_nothing(tmp_path):
    done = start("run", OU, *SHORT, "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missed_check_is_reported_and_exits_6(tmp_path):
    done = call("run", OU, "--set", "checks.error_l1=1e-9", cwd=tmp_path)
    assert done.returncode == 6
    assert "check error_l1 missed: got 0.0018" in done.stderr
    assert "missed" in done.stdout
    assert (tmp_path / "ou-1d.nc").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", OU, "--set", "flow.epsilon=-1"], 3, "--set flow.epsilon=-1: expected a number >= 0, got -1"),
        (["check", OU, "--set", "mesh.upper=[-9]"], 3, "lower -6 is not below upper -9"),
        (["run", OU, "--set", "flow.potential=1/x", "--set", "mesh.cells=[3]"], 3, "1/x is inf at x = 0"),
        (["run", "nothing.yaml"], 5, "nothing.yaml: cannot be read"),
        (["run", OU, "-o", "no/such/dir/x.nc"], 5, "no directory"),
        (["run", OU, "-o", "x.txt"], 5, "ends in .nc"),
        (["run", OU, "-o", "."], 5, "ends in .nc"),
        (["run", OU, "-o", ""], 5, "ends in .nc"),
        (["run", OU, "-o", "x" * 260 + ".nc"], 5, "File name too long"),
        (["check", OU, "--set", "mesh.cells=[200000000]"], 3, "cells need about"),
        (["info", OU], 5, "cannot be read"),
        (["run"], 2, "usage"),
        (["frobnicate"], 2, "invalid choice"),
        (["run", OU, "--set", "flow"], 2, "PATH=VALUE"),
    ],
)
def test_refusals_have_one_message_an_exit_code_and_no_traceback(arguments, code, message, tmp_path):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert os.listdir(tmp_path) == []


def test_numerics_that_fail_exit_4(tmp_path):
    solver = "flow.stepper={kind: implicit-euler, solver: {kind: krylov, iterations: 1, tolerance: 1e-15}}"
    done = start("run", str(Path("cases/ou-2d-rotating.yaml").resolve()), "--set", solver, cwd=tmp_path)
    assert done.returncode == 4
    assert "solver krylov stopped" in done.stderr
    assert "the frames so far are in ou-2d-rotating.parts" in done.stderr


def test_a_write_that_fails_exits_5_and_leaves_no_half_result(tmp_path):
    """A file-size limit stands in for a disk that fills while HDF5 writes."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    big = ["--set", "mesh.cells=[20000]", "--set", "times.save=0.01", "--set", "checks={}"]
    done = start("run", OU, *big, cwd=tmp_path, preexec_fn=limited)
    assert done.returncode == 5, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ou-1d.nc").exists()


def test_a_directory_that_may_not_be_written_exits_5(tmp_path):
    done = call("run", OU, "-o", "/proc/x.nc", cwd=tmp_path)  # not even root may
    assert done.returncode == 5
    assert "/proc/x.nc: cannot be written" in done.stderr


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def test_the_steps_before_a_resume_are_told_apart(tmp_path):
    """The seconds beside them are those since then."""
    short = ("--set", "times={end: 0.1, step: 0.01}", "--set", "checks={}")
    assert re.search(r"steps +10 to t = 0\.1 in \d", call("run", OU, *short, cwd=tmp_path).stdout)
    resumed = call("resume", "ou-1d.nc", "--until", "0.25", cwd=tmp_path).stdout
    assert re.search(r"steps +25 to t = 0\.25, 15 of them since the resume, in \d", resumed)
    last = json.loads(call("resume", "ou-1d.nc", "--until", "0.3", "--json", cwd=tmp_path).stdout)
    assert (last["steps"], last["steps_since_resume"]) == (30, 5)


@pytest.mark.parametrize(("number", "code"), [*SIGNALS, SIGNALS[1]])
def test_signals_stop_the_run_and_its_result_goes_on(number, code, tmp_path):
    """With a frame in every step the signal mostly arrives amid a write; still no frame is half there."""
    frequent = ["--set", "times.end=100", "--set", "times.save=0.01", "--set", "checks={}"]
    process = subprocess.Popen([*RUN, "run", OU, *frequent], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "ou-1d.parts" / "checkpoint-1.npz")
    time.sleep(0.3)
    process.send_signal(number)
    _, messages = process.communicate(timeout=15)
    assert process.returncode == code
    assert "the frames so far are in ou-1d.nc" in messages
    assert sorted(os.listdir(tmp_path)) == ["ou-1d.nc", "ou-1d.xmf2"]
    assert "unfinished" in call("info", "ou-1d.nc", cwd=tmp_path).stdout
    with fvflow.read(tmp_path / "ou-1d.nc") as ds:
        count = ds.sizes["time"]
        changes = {"times": {"end": 0.01 * (count - 1), "step": 0.01, "save": 0.01}}
        whole = Case.read(OU).replace(changes).run()
        for name in ("time", "rho", "mass", "covariance", "iterations", "error_l1"):
            np.testing.assert_allclose(ds[name], whole[name], rtol=1e-9, atol=1e-14, err_msg=name)
        reached = float(ds.time[-1])
    done = call("resume", "ou-1d.nc", "--until", f"{reached + 0.1:.6g}", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("replaces")) == (0, 0)
    with fvflow.read(tmp_path / "ou-1d.nc") as ds:
        assert ds.sizes["time"] in (count + 10, count + 11)
        assert ds.attrs["checks_missed"] == "none"


def test_a_signal_does_not_put_part_of_a_run_in_place_of_another_result(tmp_path):
    assert call("run", OU, *SHORT, "-q", cwd=tmp_path).returncode == 0
    before = (tmp_path / "ou-1d.nc").read_bytes()
    process = subprocess.Popen([*RUN, "run", OU, *LONG], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "ou-1d.parts" / "checkpoint-1.npz")
    process.send_signal(signal.SIGTERM)
    _, messages = process.communicate(timeout=15)
    assert process.returncode == 143
    assert "the frames so far are in ou-1d.parts" in messages
    assert "fvflow resume ou-1d.parts goes on at t = " in messages
    assert (tmp_path / "ou-1d.nc").read_bytes() == before


def test_a_kill_leaves_readable_frames_which_the_next_run_does_not_remove(tmp_path):
    process = subprocess.Popen(
        [*RUN, "run", OU, *LONG, "--set", "times.save=0.01"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    wait_for(tmp_path / "ou-1d.parts" / "checkpoint-1.npz", seconds=30)
    time.sleep(0.2)
    process.kill()
    process.wait()
    with fvflow.read(tmp_path / "ou-1d.parts") as ds:
        frames = ds.sizes["time"]
        assert frames >= 1
        assert abs(float(ds.mass[-1]) - 1) <= 1e-14
    done = call("info", "ou-1d.parts", cwd=tmp_path)
    assert f"{frames} time" in done.stdout
    assert "unfinished" in done.stdout
    refused = call("run", OU, *SHORT, cwd=tmp_path)
    assert refused.returncode == 5
    s, last = "s" * (frames != 1), 0.01 * (frames - 1)
    those = (
        f"{frames} frame{s} up to t = {last:g} and a checkpoint in ou-1d.parts, of an unfinished run of "
        f"{time.strftime('%Y-')}"
    )
    assert refused.stderr.startswith(those)
    assert "fvflow resume ou-1d.parts" in refused.stderr
    with fvflow.read(tmp_path / "ou-1d.parts") as ds:
        assert ds.sizes["time"] == frames, "nothing is deleted"
    done = call("run", OU, *SHORT, "-q", "--discard", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith(f"removes {those}")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == ["ou-1d.nc", "ou-1d.xmf2"]


def test_a_result_is_replaced_with_a_word_or_kept(tmp_path):
    assert call("run", OU, *SHORT, "--keep", cwd=tmp_path).stderr == "", "nothing is there to keep"
    with fvflow.read(tmp_path / "ou-1d.nc") as ds:
        began = ds.attrs["history"][:16].replace("T", " ")
    before = (tmp_path / "ou-1d.nc").read_bytes()
    kept = call("run", OU, *SHORT, "--set", "flow.epsilon=-1", "--keep", cwd=tmp_path)
    assert kept.returncode == 3, "what is wrong with the case is said first"
    kept = call("run", OU, *SHORT, "--keep", cwd=tmp_path)
    assert kept.returncode == 5
    old = f"ou-1d.nc of {began}, Ornstein-Uhlenbeck relaxation"
    assert kept.stderr == f"{old}, is kept as --keep says; name another result by -o, or leave out --keep\n"
    assert (tmp_path / "ou-1d.nc").read_bytes() == before
    done = call("run", OU, *SHORT, "-q", "--set", "title=Another", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, f"replaces {old}\n")
    assert fvflow.read(tmp_path / "ou-1d.nc").attrs["title"] == "Another"
    assert call("run", OU, *SHORT, "-q", "--set", 'title=""', cwd=tmp_path).stderr.endswith(", Another\n")
    untitled = call("run", OU, *SHORT, "-q", cwd=tmp_path).stderr
    assert re.fullmatch(r"replaces ou-1d\.nc of \d{4}-\d\d-\d\d \d\d:\d\d\n", untitled)


@pytest.mark.parametrize("made", ["text", "mesh", "text of ParaView"])
def test_other_files_are_not_overwritten(made, tmp_path):
    file = tmp_path / ("x.xmf2" if made == "text of ParaView" else "x.nc")
    if made == "mesh":
        fvflow.save_mesh(fvflow.Box((0.0,), (1.0,), (4,)).build(), file)
    else:
        file.write_text("mine")
    before = file.read_bytes()
    done = call("run", OU, *SHORT, "-o", "x.nc", cwd=tmp_path)
    assert done.returncode == 5
    assert "would be overwritten; " in done.stderr
    assert "use another name" in done.stderr
    assert os.listdir(tmp_path) == [file.name]
    assert file.read_bytes() == before


def wait_for(path, seconds=15.0):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def test_progress_without_a_terminal_is_lines_on_stderr(tmp_path, monkeypatch):
    process = subprocess.Popen([*RUN, "run", OU, *LONG], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    process.terminate()
    process.communicate(timeout=10)
    assert line.startswith("t = ")
    assert "s left" in line


def test_a_solver_shows_its_iterations_and_stops_between_them(tmp_path):
    case = str(Path("cases/transport-gaussians-2d.yaml").resolve())
    long = ["--set", "flow.solver={kind: primal-dual, iterations: 1000000, tolerance: 1e-15}", "--set", "checks={}"]
    process = subprocess.Popen([*RUN, "run", case, *long], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    line = next(line for line in process.stderr if line.startswith("iteration"))  # slow ones tell that first
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=15)
    assert process.returncode == 143
    assert re.fullmatch(r"iteration \d+(, residual \d\.\de[-+]\d\d)?\n", line)
    *_, stopped, kept = rest.splitlines()
    assert stopped == "fvflow: terminated"
    name = "transport-gaussians-2d.parts"
    assert re.fullmatch(rf"fvflow: there is no frame yet; fvflow resume {name} goes on after iteration \d+", kept)
    again = subprocess.Popen([*RUN, "resume", name], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    line = next(line for line in again.stderr if line.startswith("iteration"))
    assert int(line.split()[1].strip(",")) > int(kept.split()[-1])
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=15)
    assert os.listdir(tmp_path) == [name]


def test_check_says_what_would_run(tmp_path):
    done = call("check", OU, "--set", "flow.stepper.kind=tr-bdf2", cwd=tmp_path)
    assert done.returncode == 0
    for word in (
        "240 cells",
        "tr-bdf2 (order 2",
        "solver tridiagonal",
        "not guaranteed",
        "Peclet",
        "200 of at most 0.01",
        "MiB",
    ):
        assert word in done.stdout, word
    report = json.loads(call("check", OU, "--json", cwd=tmp_path).stdout)
    assert report["positivity"] == "unconditional"
    assert os.listdir(tmp_path) == []


def test_check_reports_drifts_that_point_out_of_the_box(tmp_path):
    done = call("check", OU, "--set", "flow.potential=-x", "--set", "exact=null", "--set", "checks={}", cwd=tmp_path)
    assert "points out with up to 1 at t = 0" in done.stdout


def test_new_writes_a_case_once(tmp_path):
    assert call("new", "mine.yaml", cwd=tmp_path).returncode == 0
    assert Case.read(tmp_path / "mine.yaml").title
    again = call("new", "mine.yaml", cwd=tmp_path)
    assert again.returncode == 5
    assert "exists already" in again.stderr


def test_info_summarises(tmp_path):
    call("run", OU, *SHORT, cwd=tmp_path)
    done = call("info", "ou-1d.nc", cwd=tmp_path)
    title, *rows = done.stdout.splitlines()
    assert title.split() == ["Ornstein-Uhlenbeck", "relaxation"]
    names = [row[: row.index("  ")].strip() if "  " in row.strip() else row.strip() for row in rows]
    wanted = ["mass drift", "minimum", "energy", "error l1", "error linf", "checks missed", "size", "times", "source"]
    assert [name for name in names if name in wanted] == wanted, "figures, then checks, then sizes, then the rest"
    assert names[:6] == ["file", "mass drift", "minimum", "energy", "error l1", "error l2"]
    assert "entropy at the end" in names
    assert not {"Conventions", "comment", "case", "resolved case", "error l1 at the end"} & set(names)
    figures = json.loads(call("info", "ou-1d.nc", "--json", cwd=tmp_path).stdout)
    assert figures["end"]["mass"] == pytest.approx(1.0)
    printed = json.loads(call("run", OU, *SHORT, "--json", "-o", "again.nc", cwd=tmp_path).stdout)
    same = printed.keys() - {"output", "wall_s", "checks_missed"}
    assert {name: figures[name] for name in same} == {name: printed[name] for name in same}, "what the run printed"


def test_info_repeats_missed_checks_and_remarks(tmp_path):
    text = Path("cases/transport-mixture-1d.yaml").read_text()
    (tmp_path / "rough.yaml").write_text(re.sub(r"(?m)^title:.*\n", "", text))
    rough = ["flow.intervals=4", "mesh.cells=[16]", "flow.accept=true", "checks={gap: 0, repair: 1}"]
    rough.append("flow.solver={kind: primal-dual, iterations: 5}")
    done = call("run", "rough.yaml", *(part for each in rough for part in ("--set", each)), cwd=tmp_path)
    assert done.returncode == 6
    told = call("info", "rough.nc", cwd=tmp_path).stdout
    assert told.splitlines()[0].strip() == "rough", "a case without a title goes by the name of its file"
    told = " ".join(told.split())
    assert "checks missed check gap missed: got" in told
    assert "remark the solver stopped at the residual" in told
    assert told.index("w2 lower") < told.index("checks missed") < told.index("remark") < told.index("size")


def test_plot_draws_what_it_is_asked_for(tmp_path):
    (tmp_path / "mine.yaml").write_text(re.sub(r"(?m)^title:.*\n", "", Path(OU).read_text()))
    call("run", "mine.yaml", "--set", "checks={}", cwd=tmp_path)
    options = ["--frames", "0,0.52,2", "--colours", "each", "-o", "p.svg"]
    done = call("plot", "mine.nc", *options, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "wrote p.svg\n")
    texts = re.findall(r"<!-- (.*) -->", (tmp_path / "p.svg").read_text())  # matplotlib leaves them beside the letters
    assert "mine" in texts, "the name of the file, as the case has no title"
    assert [text for text in texts if text.startswith("t = ")] == ["t = 0", "t = 0.5", "t = 2"]
    assert call("plot", "mine.nc", "--frames", "2", cwd=tmp_path).returncode == 0
    assert (tmp_path / "mine.png").stat().st_size > 3000
    early = ("--set", "checks={}", "--set", "times={start: -1.5, end: 0, step: 0.1, save: 0.5}", "-o", "early.nc")
    call("run", "mine.yaml", *early, cwd=tmp_path)
    assert call("plot", "early.nc", "--frames", "-1.5,-.5e0,0", "-o", "p.svg", cwd=tmp_path).returncode == 0
    texts = re.findall(r"<!-- (.*) -->", (tmp_path / "p.svg").read_text())
    assert [text for text in texts if text.startswith("t = ")] == ["t = -1.5", "t = -0.5", "t = 0"]
    for wrong, code in (("x", 2), ("0,", 2), ("0", 3), ("0,9", 3)):
        refused = call("plot", "mine.nc", "--frames", wrong, cwd=tmp_path)
        assert (refused.returncode, "Traceback" in refused.stderr) == (code, False), wrong


def test_schema_prints_json(tmp_path):
    assert json.loads(call("schema", cwd=tmp_path).stdout)["title"] == "fvflow case"


def test_a_result_does_not_overwrite_its_case(tmp_path):
    case = tmp_path / "mine.nc"
    case.write_text(Path(OU).read_text())
    done = call("run", "mine.nc", cwd=tmp_path)
    assert done.returncode == 5
    assert "would overwrite the case" in done.stderr
    assert case.read_text() == Path(OU).read_text()


@pytest.mark.parametrize("redirection", ["2>&-", ">&-", ">&- 2>&-", "2> >(true)"])
def test_streams_that_are_closed_do_not_stop_a_run(redirection, tmp_path):
    command = f"{' '.join(RUN)} run {OU} {' '.join(SHORT)} {redirection}".replace("checks={}", "'checks={}'")
    done = subprocess.run(["/bin/bash", "-c", command], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "ou-1d.nc").exists()


def test_a_full_standard_output_exits_5():
    done = subprocess.run(["/bin/bash", "-c", f"{' '.join(RUN)} schema > /dev/full"], capture_output=True, text=True)
    assert done.returncode == 5
    assert "output failed (No space left on device)" in done.stderr


def test_too_little_memory_is_reported(tmp_path):
    limit = f"ulimit -v 1500000; {' '.join(RUN)} run {OU} --set 'mesh.cells=[30000000]'"
    done = subprocess.run(["/bin/bash", "-c", limit], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "cells need about" in done.stderr


def test_check_estimates_what_is_then_seen(tmp_path):
    report = json.loads(start("check", OU, "--json", cwd=tmp_path).stdout)
    call("run", OU, cwd=tmp_path)
    assert float(report["result"].split()[1]) == pytest.approx((tmp_path / "ou-1d.nc").stat().st_size / 1024, rel=0.3)
    assert report["result"].endswith("KiB")
    assert report["Peclet number"].startswith("at most 0.23 ")  # x_f h/eps, x_f the last with 1e-6 of the mean
    assert 100 < float(report["memory"].split()[1]) < 400
    assert 0 < float(report["time"].split()[1]) < 30


@pytest.mark.parametrize(
    ("flow", "outward"),
    [
        ("{kind: fokker-planck, epsilon: 0.1, stream: sin(pi*x)*sin(pi*y)}", False),
        ("{kind: fokker-planck, epsilon: 0.1, stream: x*y}", True),
    ],
)
def test_walls_that_a_drift_respects_are_not_blamed(flow, outward, tmp_path):
    case = "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [20, 20]}\n"
    case += "initial: {kind: uniform}\ntimes: {end: 1, step: 0.1}\n"
    (tmp_path / "c.yaml").write_text(case + f"flow: {flow}\n")
    walls = json.loads(call("check", "c.yaml", "--json", cwd=tmp_path).stdout)["walls"]
    assert ("points out" in walls) == outward


def test_a_pipe_that_closes_is_no_error(tmp_path):
    done = subprocess.run(
        f"{' '.join(RUN)} schema | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mass_in_one_cell_is_told_and_can_be_checked(tmp_path):
    """Attraction beside a diffusion that the mesh does not resolve."""
    (tmp_path / "spike.yaml").write_text(
        "mesh: {kind: box, lower: [-1], upper: [1], cells: [21]}\n"
        "flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 1e-4}, {kind: interaction, kernel: 4*r**2}]}\n"
        "initial: {kind: gaussian, mean: [0], covariance: [[0.05]]}\ntimes: {end: 4, step: 0.2}\n"
        "checks: {largest_cell_share: 0.5}\n"
    )
    done = call("run", "spike.yaml", "--json", cwd=tmp_path)
    figures = json.loads(done.stdout)
    assert done.returncode == 6
    assert 0.9 < figures["largest_cell_share"] <= 1
    share = f"{100 * figures['largest_cell_share']:.0f} % of the mass is in one cell"
    assert share in done.stderr
    density = fvflow.read(tmp_path / "spike.nc").rho.values[-1]
    assert density.max() / density.sum() == pytest.approx(figures["largest_cell_share"], rel=1e-12)
