"""Makes the Python client's models of the API's OpenAPI document, and its synchronous client of the asynchronous one.

``python clients/python/generate.py`` writes the files; with ``--check`` it says which of them are not what it would write (exit code 1).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import unasync
from datamodel_code_generator import InputFileType, generate
from datamodel_code_generator.enums import DataModelType, DefaultValueType, OpenAPIScope
from datamodel_code_generator.format import Formatter, PythonVersion
from datamodel_code_generator.parser import LiteralType

from infra.settings import Settings
from starter.api.application import create_app
from starter.api.openapi import document

_PACKAGE: Final = Path(__file__).parent / "casaflow_client"
_HEADER: Final = '"""The models of requests and answers, made of the API\'s OpenAPI document by ``clients/python/generate.py``."""'
_METHODS: Final = (
    "Transport",
    "Accounts",
    "Transactions",
    "Holds",
    "StandingOrders",
    "Reports",
    "Documents",
    "Files",
    "Events",
    "Administration",
)
_SYNCHRONOUS: Final = {
    "AsyncClient": "Client",
    "AsyncIterator": "Iterator",
    "AsyncGenerator": "Generator",
    "aiter_lines": "iter_lines",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "async_sleep": "sleep",
    "aclose": "close",
    "_async": "_sync",
    **{f"Async{name}": name for name in _METHODS},
}

_LEFT_OUT: Final = frozenset(
    {"title", "examples", "example", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "minItems", "maxItems"}
)
"""Rules are the API's to check: a client that is older than it may not know better."""
_WORDING: Final = {
    "The asynchronous client. The synchronous one is made of these files, see": "The synchronous client, made of the asynchronous one by",
    "The asynchronous client": "The synchronous client",
    "``async with": "``with",
}
"""What stands in texts, which are not renamed with the code."""


def main() -> int:
    """Write the files, or compare them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true")
    if not options.parse_args().check:
        write(_PACKAGE)
        return 0
    wrong = differences()
    for path in wrong:
        print(f"{path} is not what generate.py makes")  # noqa: T201  a command's answer
    return 1 if wrong else 0


def differences() -> list[Path]:
    """The files of the package that are not what would be made."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / _PACKAGE.name
        shutil.copytree(_PACKAGE, made, ignore=shutil.ignore_patterns("__pycache__", "_sync"))
        write(made)
        expected = {path.relative_to(made) for path in made.rglob("*.py")}
        present = {path.relative_to(_PACKAGE) for path in _PACKAGE.rglob("*.py")}
        changed = {path for path in expected & present if (made / path).read_bytes() != (_PACKAGE / path).read_bytes()}
        return sorted(changed | (expected ^ present))


def write(package: Path) -> None:
    """Make the files in this package."""
    _write_models(package / "models.py")
    _write_synchronous(package)
    made = [str(package / "models.py"), str(package / "_sync")]
    for command in (["check", "--fix", "--exit-zero", "--quiet", "--select", "I,F401"], ["format", "--quiet", "--line-length", "140"]):
        # Isolated: the same wherever the files lie.
        subprocess.run([sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", *made], check=True)  # noqa: S603  this interpreter's


def _write_models(target: Path) -> None:
    nowhere = Settings(postgres_url="postgresql://nobody@127.0.0.1/none", temporal_address="127.0.0.1:1", kafka_bootstrap_servers=None)
    generate(
        _for_clients(document(create_app(nowhere))),
        input_file_type=InputFileType.OpenAPI,
        output=target,
        output_model_type=DataModelType.PydanticV2BaseModel,
        base_class="casaflow_client.answers.Model",
        target_python_version=PythonVersion.PY_311,
        openapi_scopes=[OpenAPIScope.Schemas],
        use_annotated=True,
        use_union_operator=True,
        use_standard_collections=True,
        use_schema_description=True,
        use_field_description=True,
        enum_field_as_literal=LiteralType.All,
        deserialize_default_values=(DefaultValueType.Decimal,),
        collapse_root_models=True,
        disable_timestamp=True,
        custom_file_header=_HEADER,
        formatters=[Formatter.BUILTIN],
    )


def _for_clients(openapi: dict[str, Any]) -> dict[str, Any]:
    """The schemas with the names that a client would look for, and without what only documents need.

    Raises:
        ValueError: two would have one name.
    """
    schemas = openapi["components"]["schemas"]
    names = {name: _name(name) for name in schemas}
    if len(set(names.values())) < len(names):
        message = f"two schemas would have one name: {sorted(names.values())}"
        raise ValueError(message)
    renamed = {names[name]: _plain(schema, names) for name, schema in sorted(schemas.items(), key=lambda item: names[item[0]])}
    return {"openapi": openapi["openapi"], "info": openapi["info"], "paths": {}, "components": {"schemas": renamed}}


def _name(schema: str) -> str:
    plain = schema.rpartition("__")[2]
    if plain.endswith("Body"):
        return f"{plain.removesuffix('Body')}Request"
    return plain.removesuffix("View")


def _plain(schema: Any, names: dict[str, str], *, of_fields: bool = False) -> Any:  # noqa: ANN401  JSON
    if isinstance(schema, list):
        return [_plain(part, names) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if of_fields:
            kept[key] = _plain(value, names)
        elif key == "$ref":
            kept[key] = f"{value.rpartition('/')[0]}/{names[value.rpartition('/')[2]]}"
        elif key == "properties":
            kept[key] = _plain(value, names, of_fields=True)
        elif key not in _LEFT_OUT and not (key == "additionalProperties" and value is False):
            kept[key] = _plain(value, names)
    return kept


def _write_synchronous(package: Path) -> None:
    source, target = package / "_async", package / "_sync"
    rule = unasync.Rule(fromdir=f"{source}/", todir=f"{target}/", additional_replacements=_SYNCHRONOUS)
    shutil.rmtree(target, ignore_errors=True)
    unasync.unasync_files([str(path) for path in sorted(source.glob("*.py"))], [rule])
    for path in target.glob("*.py"):
        text = path.read_text()
        for asynchronous, synchronous in _WORDING.items():
            text = text.replace(asynchronous, synchronous)
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
