"""JSON schema of a spec file, for editors: ``python -m bench.specs.json_schema`` writes ``schema.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.specs.schema import FIXED, SCALES, Spec

SCHEMA = Path(__file__).with_name("schema.json")


def schema() -> dict[str, Any]:
    """Build the JSON schema of a spec file. No key is required: `extends` may provide it."""
    result = Spec.model_json_schema(mode="validation")
    definitions: dict[str, Any] = result["$defs"]
    for part in (result, *definitions.values()):
        part.pop("required", None)
    properties = {key: value for key, value in result["properties"].items() if key not in FIXED}
    definitions["Changes"] = {
        "type": "object",
        "description": "Keys that replace the spec's own at one scale.",
        "properties": properties,
        "additionalProperties": False,
    }
    result["properties"]["scales"] = {
        "type": "object",
        "description": "What differs at a scale.",
        "properties": {scale: {"$ref": "#/$defs/Changes"} for scale in SCALES},
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result, "title": "bench spec"}


def schema_text() -> str:
    """Format the schema as it is shipped, in ``bench/specs/schema.json``."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text())
