"""Write the service's settings into the schema of the Helm chart's values.

    python -m tools.write_chart_schema

The rest of values.schema.json is written by hand; tests/deploy compare both with the settings.
"""

import json
from pathlib import Path
from typing import Any

from grounded_labeler.settings import Settings, secret_fields, variable_names

CHART = Path(__file__).parents[1] / "deploy" / "helm" / "grounded-labeler"
SCHEMA = CHART / "values.schema.json"

# What the chart itself says: by its port, its volume, the image's own default.
_OF_THE_CHART = {"port", "data_dir", "default_segmenter"}
_SAID_BY_THE_KEY = {"title", "default", "format"}


def settings_schema() -> dict[str, dict[str, Any]]:
    """Return the schema of each setting that `settings` of the chart may hold, by its variable."""
    secrets = {field for secret in secret_fields() for field in (secret, f"{secret}_file")}
    properties = Settings.model_json_schema(by_alias=False)["properties"]
    return {
        variable_names()[field][0]: _of_variable(properties[field])
        for field in sorted(Settings.model_fields.keys() - secrets - _OF_THE_CHART)
    }


def _of_variable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of what a variable holds: a list is written with commas."""
    [given] = [one for one in schema.get("anyOf", [schema]) if one["type"] != "null"]
    merged = {**{key: value for key, value in schema.items() if key != "anyOf"}, **given}
    if merged["type"] == "array":
        merged = {"type": "string", "description": merged["description"]}
    if merged["type"] == "number":
        # Helm's --set hands 0.25 on as a string.
        merged |= {"type": ["number", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?$"}
    return {key: value for key, value in merged.items() if key not in _SAID_BY_THE_KEY}


def main() -> None:
    schema = json.loads(SCHEMA.read_text())
    schema["properties"]["settings"]["properties"] = settings_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main()
