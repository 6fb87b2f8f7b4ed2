"""What editors know of case files."""

from __future__ import annotations

from typing import Any

from fvflow.case.core import Case
from fvflow.case.descriptions import describe_properties
from fvflow.case.models import model


def json_schema() -> dict[str, Any]:
    """The JSON schema of case files, for editors."""
    made = model(Case).model_json_schema()
    describe_properties(made, Case)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "fvflow case"}
