"""The command that names the sources of the methods of a case."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fvflow.cli.arguments import add_case
from fvflow.cli.loading import load_case
from fvflow.cli.printing import escaped, print_json, print_text, say
from fvflow.errors import OutputError


def add_cite(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("cite", help="the sources of the methods that a case uses, as text and BibTeX")
    add_case(parser)
    parser.add_argument("--bibtex", action="store_true", help="print BibTeX instead of text")
    parser.add_argument("-o", "--output", type=Path, metavar="NAME.bib", help="write the BibTeX into a file")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of text")
    parser.set_defaults(command=_cite)


def _cite(options: argparse.Namespace) -> int:
    from fvflow.studies import cite

    found = cite(load_case(options.case, dict(options.overrides)))
    if options.output is not None:
        _write(options.output, found.bibtex)
    if options.json:
        parts = {part: [source.key for source in sources] for part, sources in found.parts.items()}
        texts = {source.key: source.text for source in found.sources}
        print_json({"parts": parts, "sources": texts, "bibtex": found.bibtex, "unknown": list(found.unknown)})
    else:
        print_text(found.bibtex if options.bibtex else found.text)
    for part in found.unknown:
        say(f"fvflow: {escaped(part)}: its sources are not known")
    return 0


def _write(path: Path, text: str) -> None:
    """Write a new file; raises OutputError, also if it is not one of BibTeX."""
    if path.suffix != ".bib":
        raise OutputError(f"{path}: the name of a file of BibTeX ends in .bib")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); give another name") from None
    say(f"wrote {path}")
