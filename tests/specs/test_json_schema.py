"""The JSON schema that editors read."""

import json

from bench.specs.json_schema import SCHEMA, schema, schema_text
from bench.specs.schema import SCALES


def test_the_schema_is_up_to_date():
    assert SCHEMA.read_text() == schema_text(), "run python -m bench.specs.json_schema"


def test_the_schema_knows_scales_and_requires_nothing():
    written = schema()
    assert "required" not in json.dumps(written)
    assert set(written["properties"]["scales"]["properties"]) == set(SCALES)
    assert not {"scales", "extends", "suits", "name"} & written["$defs"]["Changes"]["properties"].keys()
