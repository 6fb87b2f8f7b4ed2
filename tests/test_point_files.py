"""Files of points: written and read to the last bit in four formats, and what is refused in one line."""

import os
import pickle
import zipfile

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.dataset import read, write_points
from fvflow.errors import CaseError, OutputError
from fvflow.fields import Samples, read_points
from fvflow.input_files import Admission, admitting
from fvflow.mesh import Box

RANDOM = np.random.default_rng(3)
FORMATS = ("csv", "npy", "npz", "nc")


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("ending", FORMATS)
def test_points_come_back_to_the_last_bit(tmp_path, ending, dimension):
    points = RANDOM.normal(size=(50, dimension)) * 10.0 ** RANDOM.integers(-300, 300, (50, dimension))
    write_points(tmp_path / f"p.{ending}", points)
    found = read_points(str(tmp_path / f"p.{ending}"), dimension)
    np.testing.assert_array_equal(found.points, points)
    assert found.log_density is found.log_det is found.weight is None
    assert os.listdir(tmp_path) == [f"p.{ending}"], "no temporary file is left"


@pytest.mark.parametrize("ending", ["csv", "npz", "nc"])
def test_values_come_back_with_their_points(tmp_path, ending):
    points, log_density, log_det = RANDOM.normal(size=(7, 2)), RANDOM.normal(size=7), RANDOM.normal(size=7)
    log_density[3] = -np.inf
    path = tmp_path / f"p.{ending}"
    write_points(path, points, log_density=log_density, log_det=log_det)
    found = read_points(str(path), 2)
    np.testing.assert_array_equal(found.log_density, log_density)
    np.testing.assert_array_equal(found.log_det, log_det)
    write_points(path, points, log_det=log_det)  # in place of the first
    assert read_points(str(path)).log_density is None
    np.testing.assert_array_equal(read_points(str(path)).log_det, log_det)


def test_a_csv_file_has_the_columns_that_are_promised(tmp_path):
    write_points(tmp_path / "p.csv", np.array([[0.1, 2.0, -1e-300]]), log_density=np.array([0.5]))
    assert (tmp_path / "p.csv").read_text().splitlines()[0] == "x,y,z,log_density"
    (tmp_path / "q.csv").write_text("log_det,y,x\n3,2,1\n")
    found = read_points(str(tmp_path / "q.csv"))
    np.testing.assert_array_equal(found.points, [[1.0, 2.0]])
    np.testing.assert_array_equal(found.log_det, [3.0])


@pytest.mark.parametrize("ending", FORMATS)
def test_points_are_an_initial_density_of_samples(tmp_path, ending):
    points = RANDOM.uniform(size=(500, 2))
    path = tmp_path / f"p.{ending}"
    write_points(path, points)
    mesh = Box((0.0, 0.0), (1.0, 1.0), (4, 3)).build()
    counts, _, _ = np.histogram2d(*points.T[::-1], bins=(3, 4), range=((0, 1), (0, 1)))
    np.testing.assert_allclose(Samples(str(path)).sample(mesh, {}), counts.ravel() / 500 * 12)


def test_weights_are_read_from_an_archive(tmp_path):
    np.savez(tmp_path / "w.npz", points=[0.2, 0.7], weight=[1, 3], label=["a", "b"])  # labels are left unread
    density = Samples(str(tmp_path / "w.npz")).sample(Box((0.0,), (1.0,), (2,)).build(), {})
    np.testing.assert_allclose(density, [0.5, 1.5])


BAD = [  # the file, what is said
    ("p.txt", r"is none of \.csv, \.npy, \.npz, \.nc; convert it to one of them"),
    ("missing.npz", r"cannot be read \(No such file or directory\)"),
    ("pipe.npz", "is a pipe and no regular file"),
    ("empty.npz", "is empty"),
    ("text.npz", r"cannot be read \(File is not a zip file\); write it with numpy\.savez"),
    ("cut.npz", r"cannot be read \(File is not a zip file\)"),
    ("flipped.npz", r"points cannot be read \(Bad CRC-32 .*\); write it with numpy\.savez"),
    ("claims.npz", r"points cannot be read \(.*\); write it with numpy\.savez"),
    ("object.npz", r"points cannot be read \(it holds pickled objects\)"),
    ("object.npy", r"cannot be read \(it holds pickled objects\)"),
    ("pickle.npy", r"is not an \.npy file \(pickled objects are not read\)"),
    ("complex.npz", r"points: holds 2 values of type complex128; write it with numpy\.savez as arrays of numbers"),
    ("unnamed.npz", r"has no array points; give the positions \(point, dim\) this name"),
    ("unnamed.nc", r"has no array points; give the positions"),
    ("damaged.nc", "cannot be read"),
    ("space.csv", r"its points have 3 coordinate\(s\), the mesh 2 dimension\(s\); give one coordinate per axis"),
    ("space.npz", r"its points have 3 coordinate\(s\), the mesh 2 dimension\(s\)"),
    ("none.npz", "has no points; give one or more"),
    ("none.csv", "has a header and no rows"),
    ("nan.npz", r"point 1 is at x = nan, y = 0; give finite numbers"),
    ("nan.csv", r"line 3 has y nan; give finite numbers"),
    ("infinite.csv", r"line 2 has log_density inf; give finite numbers"),
    ("infinite.npz", r"point 0 has the log_det -inf; give finite numbers"),
    ("short.npz", r"has 2 points and log_density of shape \(1,\); give one for each"),
    ("weight.npz", r"point 1 has the weight -1; give weights >= 0"),
    ("weight.csv", r"line 3 has the weight -1; give weights >= 0"),
    ("columns.csv", r'its header is "x,y,mass"; give the columns x\[, y\[, z\]\]\[, weight\]\[, log_density\]'),
    ("repeated.csv", r'its header is "x,x"'),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    plane, space = np.zeros((2, 2)), np.zeros((2, 3))
    write_points(folder / "good.npz", plane)
    whole = (folder / "good.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "flipped.npz").write_bytes(bytes([*whole[:200], whole[200] ^ 1, *whole[201:]]))
    for name in ("empty.npz", "text.npz", "p.txt", "damaged.nc"):
        (folder / name).write_text("" if name == "empty.npz" else "no archive")
    os.mkfifo(folder / "pipe.npz")
    with zipfile.ZipFile(folder / "claims.npz", "w") as archive, archive.open("points.npy", "w") as entry:
        np.lib.format.write_array_header_1_0(entry, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 2)})
    np.savez(folder / "object.npz", points=np.array([folder, None]))
    np.save(folder / "object.npy", np.array([folder, None]))
    (folder / "pickle.npy").write_bytes(pickle.dumps([0.0]))
    np.savez(folder / "complex.npz", points=np.zeros(2, complex))
    np.savez(folder / "unnamed.npz", plane)
    fvflow.save_mesh(Box((0.0,), (1.0,), (2,)).build(), folder / "unnamed.nc")
    write_points(folder / "space.csv", space)
    write_points(folder / "space.npz", space)
    np.savez(folder / "none.npz", points=np.zeros((0, 2)))
    np.savez(folder / "nan.npz", points=[[0, 0], [np.nan, 0]])
    np.savez(folder / "infinite.npz", points=plane, log_det=[-np.inf, 0])
    np.savez(folder / "short.npz", points=plane, log_density=[0])
    np.savez(folder / "weight.npz", points=plane, weight=[1, -1])
    texts = {
        "none": "x,y\n",
        "nan": "x,y\n0,0\n0,nan\n",
        "infinite": "x,y,log_density\n0,0,inf\n",
        "weight": "x,y,weight\n0,0,1\n0,0,-1\n",
        "columns": "x,y,mass\n0,0,0\n",
        "repeated": "x,x\n0,0\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


@pytest.mark.parametrize(("name", "message"), BAD)
def test_bad_points_are_refused_in_one_line(folder, name, message):
    with pytest.raises(CaseError, match=message) as caught:
        read_points(str(folder / name), 2)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{folder / name}: ")


@pytest.mark.parametrize(
    ("ending", "largest", "message"),
    [
        ("csv", 15_000, "GiB; at most"),
        ("npy", 64_000, "GiB; at most"),
        ("nc", 64_000, "GiB; at most"),
        ("npz", 50_000, "points has 64128 bytes; at most 50000 are read"),  # 300 bytes on the disk
        ("single", 50_000, "points: holds 8000 values of type float32; .*, at most 6250"),
    ],
)
def test_points_beyond_the_largest_size_are_refused(tmp_path, ending, largest, message):
    path = tmp_path / f"p.{'npz' if ending == 'single' else ending}"
    points = np.zeros((4000, 2), np.float32 if ending == "single" else float)
    write_points(path, points)
    if ending == "npz":
        np.savez_compressed(path, points=points)
    with admitting(Admission(largest)), pytest.raises(CaseError, match=message):
        read_points(str(path))


def test_what_cannot_be_written_is_refused(tmp_path):
    points = np.zeros((3, 2))
    with pytest.raises(OutputError, match=r"the name of points ends in \.csv or \.npy or \.npz or \.nc"):
        write_points(tmp_path / "p.txt", points)
    with pytest.raises(OutputError, match=r"an \.npy file has no room for log_density and log_det"):
        write_points(tmp_path / "p.npy", points, log_density=np.zeros(3), log_det=np.zeros(3))
    with pytest.raises(OutputError, match="there is no directory"):
        write_points(tmp_path / "no" / "p.npy", points)


def test_a_result_is_not_replaced_by_points(tmp_path):
    case = Case.parse(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [4]}\nflow: {kind: fokker-planck, epsilon: 1}\n"
        "initial: {kind: uniform}\ntimes: {end: 0.1, step: 0.1}"
    )
    case.write(tmp_path / "r.nc")
    with pytest.raises(OutputError, match=r"r\.nc: holds no points and would be overwritten; use another name"):
        write_points(tmp_path / "r.nc", np.zeros((3, 1)))
    assert read(tmp_path / "r.nc").sizes["time"] == 2


def test_a_link_to_points_stays_one(tmp_path):
    (tmp_path / "link.npz").symlink_to("p.npz")
    write_points(tmp_path / "link.npz", np.ones((2, 1)))
    assert (tmp_path / "link.npz").is_symlink()
    np.testing.assert_array_equal(read_points(str(tmp_path / "p.npz")).points, np.ones((2, 1)))
