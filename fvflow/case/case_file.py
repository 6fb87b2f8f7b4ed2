"""The text of a case in a file."""

from __future__ import annotations

import os

from fvflow.case.document import LARGEST, too_large
from fvflow.errors import OutputError
from fvflow.input_files import require_regular


def read_text(path: str | os.PathLike[str]) -> bytes:
    """The text of a case in a file; raises OutputError if it cannot be read, CaseError if it is too large."""
    wanted = "the path of a case file"
    if (size := require_regular(path, wanted, OutputError)) > LARGEST:
        raise too_large(os.fspath(path), size)
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror}); give {wanted}") from None
