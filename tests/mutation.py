"""Mutation testing by hand: which changes to the numerical modules does the suite not notice?

    python -m tests.mutation [--seed 0] [--count 60] [--modules march.py 'linalg/**/*.py'] [--map FILE] [--list]

A mutant is the program with one small change: a constant scaled, a comparison, an operator or a minimum exchanged,
`and` for `or`, an update or a `raise` left out, a verdict negated, a range one longer or shorter. The sites are drawn
with the seed, without repetition, and one change is drawn for each; the same seed and count on the same sources give
the same mutants. `--list` prints them and stops. Annotations, messages, functions that return text, indices and
keywords such as `axis` are left alone, since most of their mutants are equivalent to the program or not of numerical
interest.

Each mutant is made in a temporary copy of the tree and run against the tests that reach the changed line, up to the
first failure: the fast ones first, of the three test files which it concerns most and then of all. `--budget` bounds
the seconds of tests for one mutant (their time in the unmutated program), so a survivor may have been spared by a
slower test: its line says how many of the tests ran. A test that takes 30 s more than ten times as long as before is
stopped, and kills. Which tests reach a line is measured once, by coverage.py with one context for each test, in this
process alone (what a test starts as another process is not seen), and kept in the file given by `--map`: it is measured
again for test files that have changed, and for all of them when fvflow has. A line of a compiled kernel, a constant of
a module and a default run in no test of their own; the tests of the places that name them stand in. Modules with
compiled loops get an empty numba cache for each mutant.

One line is printed for each mutant, and at the end a JSON object with the seed, the count, the survivors and the rate.
It takes minutes to an hour, so it is run by hand and not in CI. A surviving mutant is a missing test or an equivalent
program (a threshold between two methods that agree, a tolerance below round-off): only a reader can tell which.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

NUMERICAL = (
    "fluxes.py",
    "problems.py",
    "march.py",
    "diagnostics.py",
    "run_statistics.py",
    "time_error.py",
    "times.py",
    "case/initial_conditions.py",
    "case/numbers.py",
    "case/remarks.py",
    "evi.py",
    "evi_bounds.py",
    "step_maps.py",
    "case/runtime_estimate.py",
    "dataset/writer.py",
    *(f"{room}/**/*.py" for room in ("energies", "exact", "fields", "flows", "linalg")),
    *(f"{room}/**/*.py" for room in ("mesh", "steppers", "transport", "wasserstein")),
)
OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", "<"),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
EXTREMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "fmin": "fmax", "fmax": "fmin"}
NO_NUMBERS = {"axis", "dtype", "stacklevel", "maxsize", "ndmin", "description"}
TEXT = {"str", "list", "tuple", "None", "Iterator", "Iterable"}
PYTEST = ["-q", "-o", "addopts=", "--doctest-modules", "--import-mode=importlib", "--no-header", "-p", "no:xdist"]
PYTEST += ["-p", "no:cacheprovider", "--hypothesis-seed=0"]
PRELOADED = ("scipy.sparse.linalg", "scipy.sparse.csgraph", "scipy.spatial", "scipy.special", "scipy.optimize", "numba")
PRELOADED += ("xarray", "netCDF4", "pydantic", "yaml", "rich.progress", "rich.table", "pyamg", "meshio")
GRACE, PATIENCE = 30.0, 10.0  # a test is stopped after GRACE seconds and PATIENCE times its usual time


@dataclass(frozen=True)
class Mutant:
    """One change of a source file: the bytes from `begin` to `end` become `new`."""

    path: str
    line: int
    begin: int
    end: int
    old: str
    new: str
    text: str  # the source line

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:60] for text in (self.old, self.new))
        return f"{self.path}:{self.line}  {old}  ->  {new}  in  {self.text}"

    def applied(self, source: bytes) -> bytes:
        """The source with the change."""
        return source[: self.begin] + self.new.encode() + source[self.end :]


class Sites(ast.NodeVisitor):
    """The places of a module that can be changed, each with its mutants, in the order of the source."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source, self.found = path, source, list[list[Mutant]]()
        self._starts = [0]
        for row in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(row))
        self._verdict = False
        self.visit(ast.parse(source))

    def _span(self, node: Any) -> tuple[int, int]:
        begin = self._starts[node.lineno - 1] + node.col_offset
        return begin, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _add(self, line: int, span: tuple[int, int], *changes: str) -> None:
        old = self.source[span[0] : span[1]].decode()
        text = self.source[self._starts[line - 1] : self._starts[line]].decode().strip()
        self.found.append([Mutant(self.path, line, *span, old, new, text) for new in changes])

    def _exchange(self, left: ast.expr, operator: ast.AST, right: ast.expr) -> None:
        """The operator between two expressions, behind brackets, blanks and comments."""
        old, new = OPERATORS.get(type(operator), ("", ""))
        place, end = self._span(left)[1], self._span(right)[0]
        while old and place < end and self.source[place : place + len(old)] != old.encode():
            place = self.source.index(b"\n", place) if self.source[place : place + 1] == b"#" else place + 1
        if old and place < end:
            line = 1 + self.source.count(b"\n", 0, place)
            self._add(line, (place, place + len(old)), new)

    def _visit_all(self, nodes: list[Any]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        names = {part.id for part in ast.walk(node.returns) if isinstance(part, ast.Name)} if node.returns else set()
        if "str" in names and names <= TEXT:
            return
        outer, self._verdict = self._verdict, names == {"bool"}
        self._visit_all([*node.args.defaults, *node.args.kw_defaults, *node.body])
        self._verdict = outer

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_all([node.value])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._add(node.lineno, self._span(node), "pass")
        self._exchange(node.target, node.op, node.value)
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._add(node.lineno, self._span(node), "pass")

    def visit_Return(self, node: ast.Return) -> None:
        if self._verdict and node.value is not None:
            begin, end = self._span(node.value)
            self._add(node.lineno, (begin, end), f"(not ({self.source[begin:end].decode()}))")
        self._visit_all([node.value])

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Not for numbers."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Text."""

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in NO_NUMBERS:
            self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        for part in ast.iter_child_nodes(node.slice):  # an index itself is no number, but it may be computed
            if isinstance(node.slice, ast.BinOp | ast.Compare | ast.BoolOp | ast.Call):
                self.visit(node.slice)
                break
            if not isinstance(part, ast.Constant | ast.UnaryOp | ast.Slice):
                self.visit(part)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, float) and value:
            changes = [repr(10 * value), repr(1e6 * value), repr(0.5 * value), f"(-{value!r})"]
        elif type(value) is int:
            changes = [str(10 * value), f"(-{value})", str(value + 1)] if value else ["1"]
        else:
            changes = ["1.0"] if isinstance(value, float) else []
        if changes:
            self._add(node.lineno, self._span(node), *(change.replace("inf", "float('inf')") for change in changes))

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not any(isinstance(part, ast.JoinedStr) or _is_text(part) for part in (node.left, node.right)):
            self.visit(node.left)
            self._exchange(node.left, node.op, node.right)
            self.visit(node.right)

    def visit_Compare(self, node: ast.Compare) -> None:
        every = [node.left, *node.comparators]
        for left, operator, right in zip(every, node.ops, every[1:], strict=False):
            self._exchange(left, operator, right)
        self._visit_all(every)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._exchange(left, node.op, right)
        self._visit_all(node.values)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in EXTREMES:
            end = self._span(node.func)[1]
            self._add(node.func.end_lineno or 0, (end - len(name), end), EXTREMES[name])
        if name == "range" and node.args:
            last = node.args[min(1, len(node.args) - 1)]
            text = self.source[slice(*self._span(last))].decode()
            self._add(last.lineno, self._span(last), f"({text}) + 1", f"({text}) - 1")
        self.generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def drawn(patterns: list[str], seed: int, count: int) -> list[Mutant]:
    """Mutants of different sites of the modules."""
    paths = sorted({path for pattern in patterns for path in Path("fvflow").glob(pattern)})
    sites = [site for path in paths for site in Sites(str(path), path.read_bytes()).found]
    random_ = random.Random(seed)
    return [random_.choice(site) for site in random_.sample(sites, min(count, len(sites)))]


class Reach:
    """Which tests reach which line; measured in the tree `tree`, and kept in a file."""

    def __init__(self, tree: Path, kept: Path) -> None:
        self.tree, self.kept = tree, kept
        sources = sorted(Path("fvflow").rglob("*.py"))
        state = _digest(*sources)
        stored = json.loads(kept.read_text()) if kept.exists() else {}
        files: dict[str, Any] = stored["files"] if stored.get("sources") == state else {}
        tests = {str(path): _digest(path) for path in [*sources, *sorted(Path("tests").rglob("test_*.py"))]}
        files = {name: file for name, file in files.items() if tests.get(name) == file["digest"]}
        missing = [name for name in tests if name not in files and (name[0] == "t" or ">>>" in Path(name).read_text())]
        if missing:
            files |= self._measured(missing, tests)
            kept.write_text(json.dumps({"sources": state, "files": files}))
        self._files = files

    def _measured(self, names: list[str], digests: dict[str, str]) -> dict[str, Any]:
        print(f"measuring which tests of {len(names)} files reach which lines", flush=True)
        process = Inner(self.tree, {"trace": names})
        process.wait(lambda: False)
        found = process.result()
        if found is None:
            raise SystemExit((self.tree / "output.txt").read_text()[-3000:])
        return {name: found.get(name, {"tests": [], "lines": {}}) | {"digest": digests[name]} for name in names}

    @cached_property
    def tests(self) -> list[tuple[str, float]]:
        """Every test and its seconds."""
        return [(name, seconds) for file in self._files.values() for name, seconds in file["tests"]]

    @cached_property
    def lines(self) -> dict[tuple[str, int], int]:
        """The tests that reach a line, as bits."""
        found: dict[tuple[str, int], int] = defaultdict(int)
        shift = 0
        for file in self._files.values():
            for path, lines in file["lines"].items():
                for line, bits in lines.items():
                    found[path, int(line)] |= int(bits, 16) << shift
            shift += len(file["tests"])
        return found

    @cached_property
    def _modules(self) -> dict[str, tuple[ast.Module, dict[str, str]]]:
        """Each module, and the names that it defines or imports with what they are called where they are defined."""
        found = {}
        for path in sorted(Path("fvflow").rglob("*.py")):
            tree = ast.parse(path.read_text())
            own = {}
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    own |= {name.asname or name.name: name.name for name in node.names}
                elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                    own[node.name] = node.name
            for node in tree.body:
                if isinstance(node, ast.Assign | ast.AnnAssign):
                    parts = [part for part in _own(node) if isinstance(part, ast.Name)]
                    own |= {part.id: part.id for part in parts if isinstance(part.ctx, ast.Store)}
            found[str(path)] = tree, own
        return found

    @cached_property
    def _uses(self) -> dict[str, list[tuple[str, ast.stmt, list[Any]]]]:
        """The statements that name something, with what they are in; a local variable of that name is another thing."""
        found: dict[str, list[tuple[str, ast.stmt, list[Any]]]] = defaultdict(list)
        for path, (tree, own) in self._modules.items():
            for statement, around in _statements(tree):
                parts = list(_own(statement))
                names = {part.attr for part in parts if isinstance(part, ast.Attribute)}
                names |= {own[part.id] for part in parts if isinstance(part, ast.Name) and part.id in own}
                for name in names:
                    found[name].append((path, statement, around))
        return found

    @cached_property
    def _mentioned(self) -> set[str]:
        """The names that stand for themselves and are not called: of functions, perhaps for a compiler."""
        found = set()
        for tree, own in self._modules.values():
            called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
            names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
            found |= {own[node.id] for node in names if id(node) not in called and node.id in own}
        return found

    def of(self, mutant: Mutant) -> list[tuple[str, float]]:
        """The tests that reach a mutant, the fastest first."""
        tree = ast.parse(Path(mutant.path).read_text())
        holders = [found for found in _statements(tree) if mutant.line in _rows(found[0])]
        statement, around = holders[-1]
        bits = self._reaching(mutant.path, statement, around, set())
        return sorted((self.tests[k] for k in range(bits.bit_length()) if bits >> k & 1), key=lambda test: test[1])

    def _covering(self, path: str, rows: Any) -> int:
        bits = 0
        for row in rows:
            bits |= self.lines.get((path, row), 0)
        return bits

    def _reaching(self, path: str, statement: ast.stmt, around: list[Any], seen: set[str]) -> int:
        """The tests that run a statement; those that run what names it, where it runs once or without being seen."""
        function = _function(around)
        if function is not None:
            bits = self._covering(path, _rows(statement))
            hidden = function is around[0] and (function.decorator_list or function.name in self._mentioned)
            if not hidden and self._covering(path, range(function.body[0].lineno, (function.end_lineno or 0) + 1)):
                return bits
            names = {around[0].name if function.name.startswith("__") else function.name}
        elif isinstance(statement, ast.FunctionDef):
            return self._covering(path, range(statement.lineno, (statement.end_lineno or 0) + 1))
        else:
            bits = 0
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            names = {part.id for target in targets if target for part in ast.walk(target) if isinstance(part, ast.Name)}
        for name in names - seen:
            seen.add(name)
            own = [use for use in self._uses[name] if use[0] == path and name.startswith("_")]
            for use in own or self._uses[name]:  # a private name is of its module
                bits |= self._reaching(*use, seen)
        if around and isinstance(around[-1], ast.ClassDef):  # a field: of those tests the ones that use the class
            methods = [part for part in around[-1].body if isinstance(part, ast.FunctionDef)]
            own = self._covering(path, (row for part in methods for row in range(part.lineno, (part.end_lineno or 0))))
            bits = bits & own or bits or own
        return bits


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _statements(node: ast.AST, around: tuple[Any, ...] = ()) -> Iterator[tuple[ast.stmt, list[Any]]]:
    """Every statement with the classes and functions that it is in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child, list(around)
        yield from _statements(child, (*around, child) if isinstance(child, ast.FunctionDef | ast.ClassDef) else around)


def _function(around: list[Any]) -> Any:
    return next((node for node in around if isinstance(node, ast.FunctionDef)), None)


def _rows(statement: ast.stmt) -> range:
    """The lines of a statement, but for those of its block."""
    body = getattr(statement, "body", None)
    end = max(body[0].lineno, statement.lineno + 1) if body else (statement.end_lineno or 0) + 1
    return range(statement.lineno, end)


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a statement, but for those of the statements in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt):
            yield child
            yield from _own(child)


class Inner:
    """A forked process that does a task in the copy of the tree and writes result.json.

    What the program imports from others is there already, which saves seconds; fvflow and tests are imported anew.
    """

    def __init__(self, tree: Path, task: dict[str, Any], cache: Path | None = None) -> None:
        self._result = tree / "result.json"
        self._result.unlink(missing_ok=True)
        shutil.rmtree(tree / ".hypothesis", ignore_errors=True)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            here = os.getcwd()
            os.chdir(tree)
            output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            import numba

            numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = str(cache or tree / "numba")
            os.environ["PYTHONPATH"] = str(tree)
            sys.dont_write_bytecode = True  # two mutants of a second and of one length would be taken for one another
            sys.path[:] = [str(tree), *(place for place in sys.path if place and place != here)]
            for name in [name for name in sys.modules if name.split(".")[0] in ("fvflow", "tests")]:
                del sys.modules[name]
            try:
                self._result.write_text(json.dumps(measured(task["trace"]) if "trace" in task else tried(task["run"])))
            finally:
                sys.stdout.flush()
                os._exit(0)

    def wait(self, due: Callable[[], bool]) -> bool:
        """Whether it ends by itself before it is due; else, and when we are interrupted, it is stopped."""
        ended = False
        try:
            while not ended and not due():
                time.sleep(0.05)
                ended = os.waitpid(self.pid, os.WNOHANG) != (0, 0)
        finally:
            if not ended:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        return ended

    def result(self) -> Any:
        """What it has written; None if it died."""
        return json.loads(self._result.read_text()) if self._result.exists() else None


class Unhurried:
    """A pytest plugin: hypothesis without deadlines, since compilation and other processes take their time."""

    def pytest_sessionstart(self) -> None:
        import hypothesis

        hypothesis.settings.register_profile("mutation", deadline=None)
        hypothesis.settings.load_profile("mutation")


class Tracing(Unhurried):
    """A pytest plugin that measures the lines which each test reaches, fixtures of a module included."""

    def __init__(self) -> None:
        import coverage

        self.seconds, self.broken, self.fixtures = dict[str, float](), set[str](), dict[str, list[str]]()
        self.coverage = coverage.Coverage(data_file=None, source=["fvflow"], config_file=False)
        self.coverage.start()
        self._context = ""

    def _switch(self, context: str) -> str:
        before, self._context = self._context, context
        self.coverage.switch_context(context)
        return before

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.outcome != "passed":
            self.broken.add(report.nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self.fixtures[item.nodeid] = [
            f"{name} of {file}" for name in item.fixturenames for file in ("all", item.path.name)
        ]
        self._switch(item.nodeid)
        yield
        self._switch("")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        before, scope = self._context, fixturedef.scope
        if scope != "function":
            file = "all" if scope in ("session", "package") else request.path.name
            self._switch(f"{fixturedef.argname} of {file}")
        yield
        self._switch(before)

    def result(self) -> dict[str, Any]:
        """The tests and the lines that they reach, by file."""
        self.coverage.stop()
        data, root = self.coverage.get_data(), Path.cwd()
        tests: dict[str, list[tuple[str, float]]] = defaultdict(list)
        places, users = {}, defaultdict(list)
        for name, seconds in self.seconds.items():
            if name not in self.broken:
                file = name.split("::")[0]
                places[name] = file, len(tests[file])
                tests[file].append((name, round(seconds, 4)))
                for fixture in self.fixtures.get(name, ()):
                    users[fixture].append(name)
        lines: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
        for path in sorted(data.measured_files()):
            for line, contexts in data.contexts_by_lineno(path).items():
                for context in contexts:
                    for name in users.get(context, [context]):
                        if name in places:
                            file, bit = places[name]
                            lines[file][str(Path(path).relative_to(root))][line] |= 1 << bit
        return {
            file: {
                "tests": every,
                "lines": {p: {n: f"{b:x}" for n, b in rows.items()} for p, rows in lines[file].items()},
            }
            for file, every in tests.items()
        }


class Chosen(Unhurried):
    """A pytest plugin that runs the given tests in the given order and notes the one that runs."""

    def __init__(self, names: list[str]) -> None:
        self.place = {name: index for index, name in enumerate(names)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place), key=lambda item: self.place[item.nodeid]
        )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        Path("running.txt").write_text(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid


def measured(files: list[str]) -> dict[str, Any]:
    """The tests of the files and the lines that they reach."""
    tracing = Tracing()
    pytest.main([*PYTEST, *files], plugins=[tracing])
    return tracing.result()


def tried(names: list[str]) -> dict[str, Any]:
    """The first of the tests that fails, if any, and pytest's exit code."""
    chosen = Chosen(names)
    code = pytest.main([*PYTEST, "-x", *dict.fromkeys(name.split("::")[0] for name in names)], [chosen])
    return {"code": int(code), "failed": chosen.failed}


def killer(tree: Path, mutant: Mutant, batches: list[list[tuple[str, float]]]) -> str:
    """What kills a mutant, by the tests of the batches; "" if it survives."""
    path = tree / mutant.path
    source, times = path.read_bytes(), path.stat()
    kernels = re.search(rb"\bn?jit\b|compiled\(|numba|LazyJit", source) is not None or "kernel" in mutant.path
    cache = Path(tempfile.mkdtemp(dir=tree)) if kernels else None
    try:
        path.write_bytes(mutant.applied(source))
        return next(filter(None, (_failure(tree, batch, cache) for batch in batches if batch)), "")
    finally:
        path.write_bytes(source)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if cache:
            shutil.rmtree(cache, ignore_errors=True)


def _failure(tree: Path, tests: list[tuple[str, float]], cache: Path | None) -> str:
    """The first test that fails, or hangs; "" if none does."""
    running, seconds = tree / "running.txt", dict(tests)
    running.write_text("")
    process = Inner(tree, {"run": list(seconds)}, cache)
    name, limit = "", time.monotonic() + 4 * GRACE  # to collect them

    def due() -> bool:
        nonlocal name, limit
        if (now := running.read_text()) and now != name:
            name, limit = now, time.monotonic() + GRACE + PATIENCE * seconds.get(now, 0.0)
        return time.monotonic() > limit

    if not process.wait(due):
        return f"{name or 'collection'} (time limit)"
    result = process.result()
    if result is None:
        return f"{name or 'collection'} (the interpreter died)"
    return str(result["failed"]) or ("" if result["code"] in (0, 5) else "collection")


def batches(tests: list[tuple[str, float]], whole: list[tuple[str, float]]) -> list[list[tuple[str, float]]]:
    """Those of the three files of which the largest share reaches the mutant, up to ten seconds; and the others."""
    share = Counter(name.split("::")[0] for name, _ in tests)
    size = Counter(name.split("::")[0] for name, _ in whole)
    files = sorted(share, key=lambda file: share[file] / size[file], reverse=True)[:3]
    first = within([test for test in tests if test[0].split("::")[0] in files], 10.0)
    return [first, [test for test in tests if test not in set(first)]]


def within(tests: list[tuple[str, float]], budget: float) -> list[tuple[str, float]]:
    """The first tests, whose times add up to the budget; all of them if it is 0."""
    kept: list[tuple[str, float]] = []
    for name, seconds in tests:
        budget -= seconds
        if kept and budget < 0 and budget + seconds != 0:
            break
        kept.append((name, seconds))
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    parser.add_argument("--count", type=int, default=60, help="number of mutants (default 60)")
    parser.add_argument("--modules", nargs="+", default=list(NUMERICAL), help="globs below fvflow/")
    parser.add_argument("--budget", type=float, default=90.0, help="seconds of tests for a mutant (default 90)")
    parser.add_argument("--map", type=Path, help="file that keeps which tests reach which line")
    parser.add_argument("--only", type=int, nargs="+", help="run these mutants alone, by their numbers in the list")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    options = parser.parse_args()
    mutants = list(enumerate(drawn(options.modules, options.seed, options.count)))
    mutants = [pair for pair in mutants if options.only is None or pair[0] in options.only]
    if options.list:
        return print(*(f"{number:3} {mutant}" for number, mutant in mutants), sep="\n")
    survivors = []
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place, "tree")
        shutil.copytree(".", tree, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        reach = Reach(tree, options.map or Path(place, "map.json"))
        for number, mutant in mutants:
            begun, tests = time.monotonic(), reach.of(mutant)
            chosen = within(tests, options.budget or float("inf"))
            killed = killer(tree, mutant, batches(chosen, reach.tests)) if chosen else ""
            if not killed:
                survivors.append(asdict(mutant) | {"number": number, "tests": len(chosen), "reaching": len(tests)})
            verdict = f"killed by {killed}" if killed else f"SURVIVED {len(chosen)} of {len(tests)} tests that reach it"
            print(f"{number:3} {mutant}: {verdict} ({time.monotonic() - begun:.0f} s)", flush=True)
    rate = len(survivors) / len(mutants) if mutants else 0.0
    print(json.dumps({"seed": options.seed, "count": len(mutants), "survivors": survivors, "rate": round(rate, 4)}))
    return None


if __name__ == "__main__":
    main()
