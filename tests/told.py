"""All that `check` and `run` tell, read from the code: `python -m tests.told > fvflow/REMARKS.md` writes the page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "fvflow"
PAGE = PACKAGE / "REMARKS.md"
HEAD = """# What a run and `check` tell

Read from the code by `python -m tests.told > fvflow/REMARKS.md`; tests/test_readme.py compares. A value is written as …

"""
REPORTS = {"report", "about_mesh", "about_walls", "_admissibility", "error_in_time_note", "positivity", "describe"}
REMARKS = {"remarks", "notes", "seam_jumps", "told", "unresolved", "consequence", "faces", "added", "finer", "upwinded"}
REMARKS |= {"without_diffusion", "coverage", "absorbed_at_once", "off_mesh", "replaced", "leftovers"}
SOURCES = (
    "case",
    "flows",
    "fluxes",
    "fields",
    "problems",
    "dataset/replacing.py",
    "time_error.py",
    "run_statistics.py",
)
FIELDS = {  # of a figure, where it has another name
    "mass_correction": "correction",
    "time_error": "largest",
    "peclet_share": "share",
    "numerical_diffusion": "diffusion",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Name and syntax tree of each module that tells anything."""
    for source in SOURCES:
        path = PACKAGE / source
        for file in [path] if path.suffix else sorted(path.rglob("*.py")):
            yield file.relative_to(PACKAGE).as_posix(), ast.parse(file.read_text())


def sentences(tree: ast.Module, names: set[str]) -> Iterator[str]:
    """The texts of three words or more in the functions of these names, docstrings and errors left out."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in names:
            yield from (text for text in texts(function) if len(re.findall(r"[a-z]{2,}", text)) >= 3)


def texts(node: ast.AST) -> Iterator[str]:
    """Every text in a node, from top to bottom, an f-string with … for its values."""
    if isinstance(node, ast.Raise):
        return
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        yield "".join(map(str, parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        body = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            body.remove(node.body[0])
        for child in body:
            yield from texts(child)


def figures(trees: dict[str, ast.Module]) -> Iterator[tuple[str, str]]:
    """Each figure of `RunStatistics.summary`, and the docstring of its field."""
    documented: dict[str, str] = {}
    for name in ("run_statistics.py", "fluxes/resolution.py", "time_error.py"):
        for owner in ast.walk(trees[name]):
            if isinstance(owner, ast.ClassDef):
                for field, text in zip(owner.body, owner.body[1:], strict=False):
                    if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                        documented.setdefault(ast.unparse(field.target), ast.literal_eval(text.value))
    found = {}
    for function in ast.walk(trees["run_statistics.py"]):
        if isinstance(function, ast.FunctionDef) and function.name == "summary":
            for text in texts(function):
                if documented.get(FIELDS.get(text, text)):
                    found[text] = documented[FIELDS.get(text, text)]
    yield from found.items()


def page() -> str:
    """The page."""
    from fvflow.dataset.groups import FIGURES

    trees = dict(modules())
    lines = [HEAD, "## Figures of a run\n\n", "| figure | what it is |\n|---|---|\n"]
    for name, text in {**dict(figures(trees)), **FIGURES}.items():
        lines.append(f"| `{name}` | {' '.join(text.split()).replace('|', chr(92) + '|')} |\n")
    for title, names in (("## Remarks, in the result and on the terminal", REMARKS), ("## Rows of `check`", REPORTS)):
        lines.append(f"\n{title}\n")
        for name, tree in trees.items():
            told = list(dict.fromkeys(sentences(tree, names)))
            lines += [f"\n`{name}`\n\n", *(f"- {text.strip(' ,;:')}\n" for text in told)] if told else []
    return "".join(lines)


if __name__ == "__main__":
    print(page(), end="")
