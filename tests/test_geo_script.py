"""Geometries of strangers: what may stand in one, and that nothing in one runs, reads or writes anything."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fvflow.errors import CaseError
from fvflow.input_files import Admission, admitting
from fvflow.mesh import Gmsh
from fvflow.mesh.geo import LARGEST, harmless_script

SQUARE = """
Point(1) = {0, 0, 0, 0.4}; Point(2) = {1, 0, 0, 0.4}; Point(3) = {1, 1, 0, 0.4}; Point(4) = {0, 1, 0, 0.4};
Line(1) = {1, 2}; Line(2) = {2, 3}; Line(3) = {3, 4}; Line(4) = {4, 1};
Curve Loop(1) = {1:4}; Plane Surface(1) = {1};
"""
HARMFUL = {  # @ is the path of a file that no script may make, & that of one that no script may read
    "system": 'SystemCall "touch @";',
    "system in single quotes": "SystemCall 'touch @';",
    "in the background": 'NonBlockingSystemCall "touch @";',
    "the short name": 'System "touch @";',
    "of a text": 'SystemCall StrCat("touch", " @");',
    "of a variable": 's = "touch @";\nSystemCall s;',
    "a command as a variable": 'SystemCall = 1; s = "touch @"; If (1) SystemCall s; EndIf',
    "in a condition": 'If (1)\n  SystemCall "touch @";\nEndIf',
    "in a loop": 'For i In {1:2} SystemCall "touch @"; EndFor',
    "in a macro": 'Macro Go\n SystemCall "touch @";\nReturn\nCall Go;',
    "in a function": 'Function Go\n SystemCall "touch @";\nReturn\nCall Go;',
    "after a block": 'Translate {1, 0, 0} { Point{1}; } SystemCall "touch @";',
    "after an error": 'x = (;\nSystemCall "touch @";',
    "after a comment that does not end": '/* open\nSystemCall "touch @";',
    "after a comment with a carriage return": '// quiet\rSystemCall "touch @";',
    "after a comment with a null": '// quiet\0\nSystemCall "touch @";',
    "a condition that ends in a text": 'If (0)\n s = "EndIf SystemCall \'touch @\'; ";\nEndIf',
    "a condition that ends in a name": 'If (0)\n xEndIf = 1;\nSystemCall "touch @";',
    "a loop that ends in a text": 'For i In {1:0}\n s = "EndFor SystemCall \'touch @\'; ";\nEndFor',
    "a text that is too long": 's = "' + "a" * 1023 + ' SystemCall \'touch @\'; ";',
    "a text over lines": 's = "a\nSystemCall \'touch @\';\n";',
    "a print to a file": 'Printf("x") > "@";',
    "a print that appends": 'Printf("x") >> "@";',
    "numbers to a file": 'Printf("%g", 1) > "@";',
    "an error to a file": 'Error("x") > "@";',
    "save": "Mesh 2;\nSave '@';",
    "print": 'Print "@";',
    "an option that prints": 'General.GraphicsFontTitle = "x"; Print.Text = 1; Print "@";',
    "include": 'Include "&";',
    "merge": "Merge '&';",
    "a merged boundary": 'Merge StrCat("&", "");',
    "a list from a file": 'x[] = ListFromFile["&"];',
    "a shape from a file": 'SetFactory("OpenCASCADE"); v() = ShapeFromFile("&");',
    "a field that runs a program": 'Field[1] = ExternalProcess; Field[1].CommandLine = "touch @";',
    "a field that reads": 'Field[1] = Structured; Field[1].FileName = "&"; Background Field = 1;',
    "an option of a field": 'Field[1] = MathEval; Field[1].CommandLine = "touch @";',
    "a formula that is none": 'Field[1] = MathEval; Field[1].F = "system(1)"; Background Field = 1;',
    "a plugin": "Plugin(NewView).Run;",
    "a view": "View[0].FileName = '@';",
    "onelab": "OnelabRun('x', 'touch @');",
    "a constant that is an option": 'DefineNumber[1, Name "x", GmshOption "General.ErrorFileName"];',
    "an option of the program": 'General.ErrorFileName = "@";',
    "an option that is a command": 'Solver.Executable0 = "touch @";',
    "an option of the mesh that is a text": 'Mesh.MeshSizeMin = "@";',
    "an option by a variable": 's = "@"; Mesh.MeshSizeMin = Str(s);',
    "names from texts": 'StringToName["Mesh"] = 1;',
    "names with a suffix": 'x~{1} = 1;',
    "the environment": 'x = GetEnv("HOME");',
    "whether a file is there": 'If (FileExists("&")) x = 1; EndIf',
    "a format of texts": 's = Sprintf("%s", 1);',
    "a format that writes": 's = Sprintf("%n", 1);',
    "exit": "Exit;",
    "a value from the terminal": 'x = GetValue("x", 1);',
    "a scope": "a::b = 1;",
}  # fmt: skip


def harmful(name, folder):
    (folder / "secret.geo").write_text(f'SystemCall "touch {folder}/canary";\n')
    return SQUARE + HARMFUL[name].replace("@", f"{folder}/canary").replace("&", f"{folder}/secret.geo") + "\n"


def test_there_are_more_than_forty_attempts():
    assert len(HARMFUL) >= 40


@pytest.mark.parametrize("name", HARMFUL)
def test_nothing_in_a_geometry_runs_reads_or_writes(name, tmp_path, monkeypatch):
    """Refused with line and column in one sentence with a remedy, as a text and as a file, before gmsh is started."""
    monkeypatch.setattr("subprocess.run", lambda *command, **options: pytest.fail("gmsh is started"))
    text = harmful(name, tmp_path)
    (tmp_path / "g.geo").write_bytes(text.encode())
    for kind in (Gmsh(geometry=text), Gmsh(file=str(tmp_path / "g.geo"))):
        with pytest.raises(CaseError, match=r":\d+:\d+: ") as refused:
            kind.build()
        assert re.search("remove|correct|write|close", str(refused.value))
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "canary").exists()


def test_a_trusted_file_is_run_as_gmsh_does(tmp_path):
    """What shows that the attempts are not refused by gmsh itself."""
    with admitting(Admission(trust=True)):
        mesh = Gmsh(geometry=harmful("system", tmp_path)).build()
    assert mesh.cells > 10
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["m.txt", "m.pos", "m.geo.opt", "m", "m.py"])
def test_gmsh_opens_no_file_that_it_may_take_for_a_script(name, tmp_path):
    (tmp_path / name).write_text(harmful("system", tmp_path))
    with pytest.raises(CaseError, match=r"may run as a script; give a \.geo"):
        Gmsh(file=str(tmp_path / name)).build()
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["m.msh", "m.MSH", "m.vtu", "m.inp", "m.mesh", "m.step", "m.brep"])
def test_no_mesh_file_reaches_the_language_of_gmsh(name, tmp_path):
    from fvflow.mesh import Meshio

    (tmp_path / name).write_text(harmful("system", tmp_path))
    (tmp_path / f"{name}.opt").write_text(harmful("system", tmp_path))
    for kind in (Gmsh, Meshio):
        with pytest.raises(CaseError):
            kind(file=str(tmp_path / name)).build()
    assert not (tmp_path / "canary").exists()


def test_a_script_beside_a_geometry_does_not_run(tmp_path):
    """gmsh itself runs FILE.opt after FILE."""
    (tmp_path / "g.geo").write_text(SQUARE)
    (tmp_path / "g.geo.opt").write_text(f'SystemCall "touch {tmp_path}/canary";\n')
    assert Gmsh(file=str(tmp_path / "g.geo")).build().cells > 10
    assert not (tmp_path / "canary").exists()
    with admitting(Admission(trust=True)):
        Gmsh(file=str(tmp_path / "g.geo")).build()
    assert (tmp_path / "canary").exists()


def test_settings_in_the_working_directory_do_not_run(tmp_path, monkeypatch):
    for name in (".gmshrc", ".gmsh-options", "gmshrc"):
        (tmp_path / name).write_text(harmful("system", tmp_path))
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "GMSH_HOME", "TMP", "TEMP"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert Gmsh(geometry=SQUARE).build().cells > 10
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a = 1;\n  SystemCall 'x';", r"g.geo:2:3: SystemCall runs commands; remove it, or give --trust"),
        ("Merge 'x.step';", r"1:1: Merge reads another file; write its statements here; remove it"),
        ("h = 1; /* a\nb */ Point(1) = {0, 0, 0, hh};", r"2:27: hh is neither .* nor a variable set above"),
        ("Ponit(1) = {0, 0, 0};\nx = Ponit 2;", r"2:5: the variable Ponit stands beside another value"),
        ("x = Coss(1);", r'1:5: Coss .* \(did you mean "Cos"\?\)'),
        ("Mesh.Algorithm = 6", r"1:1: the statement Mesh has no end \(a semicolon\)"),
        ("Mesh 2;", r"1:1: Mesh is for options such as Mesh.Algorithm"),
        ("x = 1 @ 2;", r"1:7: the character '@' is no part of a geometry"),
        ('Physical Surface("a) = {1};', r"1:18: a text without its closing \" in the same line"),
        ("x = (1;", r"1:1: the statement x has no end"),
        ('x = "EndIf";', r"1:5: a text with EndIf in it, which gmsh may take for code; write it another way"),
        ('x = "EndFor";', r"1:5: a text with EndFor in it"),
        ("xEndIf = 1;", r"1:1: xEndIf may be taken for the end of a condition"),
        ("x = 1);", r"1:6: \) closes nothing"),
        ("If (1", r"1:4: \( is not closed"),
        ('SetFactory("Parasolid");', r'1:12: the factory is "OpenCASCADE" or "Built-in"'),
        ("Field[1] = Distanc;", r'1:12: Distanc is not a kind of field that computes \(did you mean "Distance"\?\)'),
        ('x = "a";\nPoint(1) = {Str(x), 0, 0};', r'2:13: the text "Str" has no place here'),
        ("1 = 2;", r"1:1: a statement cannot begin with '1'"),
        ("x = " + "1" * 65 + ";", r"1:5: a number of 65 characters; write at most 64"),
    ],
)
def test_a_refusal_says_where_what_and_what_to_do(line, message):
    with pytest.raises(CaseError, match=message):
        harmless_script(line, "g.geo")


def test_a_geometry_has_a_largest_size():
    with pytest.raises(CaseError, match=rf"at most {LARGEST}"):
        harmless_script(" " * (LARGEST + 1), "g.geo")


def test_gmsh_is_given_the_admitted_tokens_line_by_line():
    text = (
        '// c\nDefineConstant[ h = {0.1, Name "x/y", Choices{1="a", 2="b"}}, k, n = 2 ]; /* a\n b */ x[] = {h, .5};\n'
    )
    text += "Printf('%s', 1); Physical Surface('50 %', 3) = {x[0]};"
    assert harmless_script(text, "g").splitlines() == [
        "",
        "DefineConstant [ h = 0.1 , k , n = 2 ] ;",
        "x [ ] = { h , .5 } ;",
        'Physical Surface ( "50 %" , 3 ) = { x [ 0 ] } ;',
    ]
    assert harmless_script(harmless_script(text, "g"), "g") == harmless_script(text, "g")


# what has to work

PUBLIC = {
    "extruded, with layers": (3, """
        lc = 0.5; // as in a first tutorial
        Point(1) = {0, 0, 0, lc}; Point(2) = {1, 0, 0, lc}; Point(3) = {1, 1, 0, lc}; Point(4) = {0, 1, 0, lc};
        Line(1) = {1, 2}; Line(2) = {2, 3}; Line(3) = {3, 4}; Line(4) = {4, 1};
        Curve Loop(4) = {1, 2, 3, 4}; Plane Surface(1) = {4};
        h = 1; angle = Pi/8;
        Translate {-0.05, 0, 0} { Point{1}; Point{4}; }
        Rotate {{0, 0, 1}, {0.5, 0.5, 0}, angle} { Duplicata { Point{3}; } }
        my_new_surfs[] = Extrude {0, 0, h} { Surface{1}; Layers{ {2, 1}, {0.4, 1} }; };
        Printf("New volume %g", my_new_surfs[1]);
        Physical Volume("The volume", 1) = {my_new_surfs[1]}; Physical Surface("bottom") = {1};
        """),
    "holes by the built-in kernel": (2, """
        DefineConstant[ lc = {0.3, Min 0.01, Max 1, Step 0.1, Name "Parameters/Mesh size"} ];
        Point(newp) = {0, 0, 0, lc}; Point(newp) = {2, 0, 0, lc}; Point(newp) = {2, 1, 0, lc};
        Point(newp) = {0, 1, 0, lc};
        For i In {1:4}
          Line(i) = {i, i % 4 + 1};
        EndFor
        loops[] = {}; Curve Loop(1) = {1:4}; loops[] += 1;
        For k In {0:1}
          c = newp; Point(c) = {0.5 + k, 0.5, 0, lc};
          p() = {};
          For j In {0:3}
            q = newp; Point(q) = {0.5 + k + 0.2 * Cos(j * Pi/2), 0.5 + 0.2 * Sin(j * Pi/2), 0, lc / 2}; p() += q;
          EndFor
          l() = {};
          For j In {0:3}
            n = newc; Circle(n) = {p(j), c, p((j + 1) % 4)}; l() += n;
          EndFor
          ll = newcl; Curve Loop(ll) = l(); loops[] += ll;
        EndFor
        Plane Surface(1) = loops[];
        If (#loops[] == 3)
          Physical Surface("plate") = {1};
        Else
          Physical Surface("broken") = {1};
        EndIf
        Physical Curve(Sprintf("outer%g", 1)) = {1:4};
        """),
    "booleans in the plane": (2, """
        SetFactory("OpenCASCADE");
        Rectangle(1) = {0, 0, 0, 2, 1}; Disk(2) = {1, 0.5, 0, 0.25}; Disk(3) = {0, 0, 0, 0.3};
        BooleanDifference(10) = { Surface{1}; Delete; }{ Surface{2, 3}; Delete; };
        s() = BooleanFragments{ Surface{10}; Delete; }{};
        Physical Surface("domain") = {s()}; Physical Curve("wall") = Boundary{ Surface{s()}; };
        MeshSize{ PointsOf{ Surface{s()}; } } = 0.2;
        p() = Point In BoundingBox{-0.1, -0.1, -0.1, 0.5, 0.5, 0.1}; MeshSize{ p() } = 0.1;
        Mesh.Algorithm = 6;
        """),
    "booleans in space": (3, """
        SetFactory("OpenCASCADE");
        R = 0.7; Rs = R * .25; Rt = R * 1.25;
        Box(1) = {-R, -R, -R, 2*R, 2*R, 2*R}; Sphere(2) = {0, 0, 0, Rt};
        BooleanIntersection(3) = { Volume{1}; Delete; }{ Volume{2}; Delete; };
        Cylinder(4) = {-2*R, 0, 0, 4*R, 0, 0, Rs}; Cone(5) = {0, 0, -R, 0, 0, 2*R, 0.1, 0.05};
        BooleanUnion(7) = { Volume{4}; Delete; }{ Volume{5}; Delete; };
        BooleanDifference(8) = { Volume{3}; Delete; }{ Volume{7}; Delete; };
        Mesh.MeshSizeMin = 0.3; Mesh.MeshSizeMax = 0.4; Mesh.MeshSizeFromCurvature = 6;
        """),
    "size fields": (2, SQUARE + """
        lc = .15;
        Field[1] = Distance; Field[1].PointsList = {2}; Field[1].CurvesList = {1}; Field[1].Sampling = 50;
        Field[2] = Threshold; Field[2].InField = 1; Field[2].SizeMin = lc / 4; Field[2].SizeMax = lc;
        Field[2].DistMin = 0.1; Field[2].DistMax = 0.3;
        Field[3] = MathEval; Field[3].F = "Cos(4*3.14*x) * Sin(4*3.14*y) / 10 + 0.101";
        Field[4] = MathEval; Field[4].F = Sprintf("F3^2 + %g", lc / 4);
        Field[5] = Box; Field[5].VIn = lc / 3; Field[5].VOut = lc; Field[5].XMin = 0.3; Field[5].XMax = 0.6;
        Field[5].YMin = 0.3; Field[5].YMax = 0.6;
        Field[7] = Min; Field[7].FieldsList = {2, 3, 5};
        Background Field = 7;
        Mesh.MeshSizeExtendFromBoundary = 0; Mesh.MeshSizeFromPoints = 0; Mesh.MeshSizeFromCurvature = 0;
        """),
    "transfinite and recombined": (2, SQUARE + """
        Transfinite Curve {1, 3} = 6 Using Progression 1.2; Transfinite Curve {2, -4} = 5 Using Bump 0.3;
        Transfinite Surface {1} = {1, 2, 3, 4} Alternate; Recombine Surface {1};
        Physical Surface("q") = {1}; Mesh.Smoothing = 10;
        """),
    "splines and Bezier curves": (2, """
        lc = 0.2;
        Point(1) = {0, 0, 0, lc}; Point(2) = {0.5, -0.2, 0, lc}; Point(3) = {1, 0, 0, lc}; Point(4) = {1.3, 0.5, 0, lc};
        Point(5) = {1, 1, 0, lc}; Point(6) = {0.5, 1.3, 0, lc}; Point(7) = {0, 1, 0, lc}; Point(8) = {-.2, .5, 0, lc};
        Spline(1) = {1, 2, 3}; BSpline(2) = {3, 4, 5}; Bezier(3) = {5, 6, 7}; Line(4) = {7, 8}; Line(5) = {8, 1};
        Line Loop(1) = {1:5}; Plane Surface(1) = {1};
        Characteristic Length {1, 3} = 0.1;
        """),
    "embedded points and curves": (2, SQUARE + """
        Point(5) = {0.3, 0.2, 0, 0.1}; Point{5} In Surface{1};
        Point(6) = {0.4, 0.7, 0, 0.2}; Point(7) = {0.6, 0.7, 0, 0.2}; Line(5) = {6, 7}; Curve{5} In Surface{1};
        Hide { Point{1}; }
        """),
    "compound surfaces and periodic curves": (2, SQUARE + """
        Point(5) = {2, 0, 0, 0.4}; Point(6) = {2, 1, 0, 0.4};
        Line(5) = {2, 5}; Line(6) = {5, 6}; Line(7) = {6, 3};
        Curve Loop(2) = {5, 6, 7, -2}; Plane Surface(2) = {2};
        Compound Curve {1, 5};
        Periodic Curve {6} = {-4} Translate {2, 0, 0};
        Physical Surface("all") = {1, 2};
        """),
    "revolved": (3, SQUARE + """
        Translate {1, 0, 0} { Surface{1}; }
        out[] = Extrude { {0, 1, 0}, {0, 0, 0}, Pi/3 } { Surface{1}; Layers{3}; Recombine; };
        Physical Volume(101) = {out[1]}; Coherence;
        """),
    "through sections, with a fillet": (3, """
        SetFactory("OpenCASCADE");
        Circle(1) = {0, 0, 0, 0.5, 0, 2*Pi}; Wire(1) = 1;
        Circle(2) = {0.1, 0.05, 1, 0.3, 0, 2*Pi}; Wire(2) = 2;
        ThruSections(1) = {1:2};
        Box(10) = {2, 0, 0, 1, 1, 1}; Fillet{10}{9}{0.1}
        Mesh.MeshSizeMin = 0.3; Mesh.MeshSizeMax = 0.4;
        """),
    "conditions and arithmetic": (2, """
        n = 5; r = 1; odd = n % 2; i = 0;
        list[] = LinSpace[0, 2*Pi, n + 1]; area = -1e-3 + (n > 4 && odd ? Sqrt(2) : Hypot(1, 2)) ^ 2;
        For i In {0 : n - 1 : 1}
          Point(i + 1) = {r * Cos(list[i]), r * Sin(list[i]), 0, area / 5};
        EndFor
        If (n < 3)
          Printf("too few");
        ElseIf (!odd || area != 0)
          For i In {1:n}
            Line(i) = {i, i == n ? 1 : i + 1};
          EndFor
        Else
          n = 0;
        EndIf
        count = 1; count += 2; count++; name = "plate";
        Curve Loop(1) = {1 ... n}; Plane Surface(1) = {1}; Physical Surface(StrCat(name, " A")) = {1};
        Geometry.Tolerance = 1e-9; x = Mesh.MeshSizeFactor;
        """),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_geometries_in_the_style_of_the_tutorials_mesh(name):
    dimension, text = PUBLIC[name]
    kind = Gmsh(geometry=text, centres="centroids")
    mesh = kind.build()
    assert mesh.dimension == dimension
    with admitting(Admission(trust=True)):
        trusted = kind.build()
    assert mesh.cells == trusted.cells, "what was left out does not change the mesh"
    assert mesh.volume.sum() == pytest.approx(trusted.volume.sum(), rel=1e-12)


@pytest.mark.parametrize("file", sorted(Path("cases").glob("*.geo")), ids=str)
def test_the_geometries_of_the_cases_are_admitted(file):
    text = file.read_text()
    assert harmless_script(text, str(file)).count("Physical") == text.count("Physical") > 0


# what takes too much


ENDLESS = {
    "a loop": "For i In {1:1000000000}\nx = i;\nEndFor\n",
    "loops in loops": "For i In {1:100000}\nFor j In {1:100000}\nx = i;\nEndFor\nEndFor\n",
    "points": "For i In {10:1000000000}\nPoint(i) = {i, 0, 0, 1};\nEndFor\n",
    "a fine mesh": "Mesh.MeshSizeMax = 1e-6;\n",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_takes_too_long_is_left(name, monkeypatch):
    """After seconds of work, whatever else the machine does."""
    monkeypatch.setattr("fvflow.mesh.gmsh_generator.SECONDS", 1)
    with pytest.raises(CaseError, match="gmsh works for more than 1 s on the geometry; shorten its loops"):
        Gmsh(geometry=SQUARE + ENDLESS[name]).build()


def test_what_takes_too_much_memory_is_left(monkeypatch):
    monkeypatch.setattr("fvflow.system.available_memory", lambda: 2.0**29)
    with pytest.raises(CaseError, match=r"gives up on the geometry, or needs more than the 0\.5 GiB of memory that"):
        Gmsh(geometry=SQUARE + "Transfinite Curve {1} = 1000000000;\n").build()


def test_a_mesh_that_takes_too_much_room_is_left():
    with (
        admitting(Admission(largest=2**14)),
        pytest.raises(CaseError, match=r"more than 1\.53e-05 GiB; --largest all"),
    ):
        Gmsh(geometry=SQUARE + "Mesh.MeshSizeMax = 0.02;\n").build()


def test_without_processes_the_way_out_is_told(monkeypatch):
    monkeypatch.setattr("sys.executable", "")
    with pytest.raises(
        CaseError, match=r"no process can be started to mesh the geometry .*; mesh it beforehand by gmsh"
    ):
        Gmsh(geometry=SQUARE).build()


def children(process):
    """Processes whose parent is this one."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == process and state != "Z":
                yield int(stat.parent.name)


def works(process):
    """Whether a process is there and has not ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_meshing_is_left_at_a_signal_and_ends_with_its_parent(number, code, tmp_path):
    mesh = json.dumps({"kind": "gmsh", "geometry": SQUARE + ENDLESS["a loop"]})
    rest = "flow: {kind: fokker-planck, epsilon: 1}\ninitial: {kind: uniform}\ntimes: {end: 1, step: 1}\n"
    (tmp_path / "case.yaml").write_text(f"mesh: {mesh}\n{rest}")
    run = subprocess.Popen([sys.executable, "-m", "fvflow", "check", tmp_path / "case.yaml"], stderr=subprocess.PIPE)
    while not (started := list(children(run.pid))):
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(number)
    told = run.communicate(timeout=60)[1].decode()
    assert run.returncode == code
    assert told == {143: "fvflow: terminated\n", 130: "fvflow: interrupted\n", -9: ""}[code]
    for _ in range(600):
        if not any(map(works, started)):
            break
        time.sleep(0.1)
    else:
        pytest.fail("gmsh goes on")
