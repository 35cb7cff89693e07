"""The chart: what Helm makes of it, and whether Kubernetes would take that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.settings import ALL_GROUPS, Settings
from tests.deploy.conftest import DEPLOY, OBSERVABILITY, Tool, load, succeeded
from tests.deploy.tools import KUBERNETES

CHART = DEPLOY / "helm" / "casaflow"
NEEDED = {
    "settings": {"CASAFLOW_TEMPORAL_ADDRESS": "temporal.bank.example:7233", "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9092"}
}
DIGEST = "sha256:" + "a" * 64
EVERYTHING = {
    **NEEDED,
    "image": {"repository": "registry.bank.example/casaflow", "tag": "0.2.0", "digest": DIGEST, "pullSecrets": ["registry"]},
    "worker": {
        "previousVersions": [{"tag": "0.1.0", "replicas": 2}],
        "autoscaling": {"authenticationRef": "temporal", "triggerMetadata": {"tlsServerName": "temporal.bank.example"}},
    },
    "codec": {"enabled": True, "origins": "https://temporal.bank.example"},
    "monitoring": {
        "podMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboards": {"enabled": True},
        "runbooksUrl": "https://wiki.bank.example/runbooks",
    },
    "networkPolicy": {"apiFrom": [{"namespaceSelector": {"matchLabels": {"name": "gateway"}}}],
                      "servers": {"postgres": {"port": 5432, "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}}},
    "extraVolumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
    "extraVolumeMounts": [{"name": "tls", "mountPath": "/etc/casaflow/tls", "readOnly": True}],
    "nodeSelector": {"pool": "casaflow"}, "priorityClassName": "bank",
}  # fmt: skip
PLAIN = {
    **NEEDED,
    "worker": {"autoscaling": {"kind": "hpa"}, "previousVersions": [{"tag": "0.0.9"}]},
    "api": {"autoscaling": {"kind": "none"}},
    "networkPolicy": {"enabled": False}, "serviceAccount": {"create": False}, "migrate": {"enabled": False}, "promote": {"enabled": False},
}  # fmt: skip
WAYS = pytest.mark.parametrize("values", [NEEDED, EVERYTHING, PLAIN], ids=["needed", "everything", "plain"])
pytestmark = pytest.mark.deploy


def _rendered(tool: Tool, values: dict[str, Any]) -> str:
    return succeeded(tool("helm", "template", "bank", CHART, "--namespace", "ledger", "--values", "-", stdin=json.dumps(values)))


def _objects(tool: Tool, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(_rendered(tool, values)) if each]


def _of(objects: list[dict[str, Any]], *kinds: str) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] in kinds}


def _conforms(tool: Tool, schemas: Path, text: str) -> Any:
    location = f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    options = ("-strict", "-summary", "-kubernetes-version", KUBERNETES, "-schema-location", location)
    return tool("kubeconform", *options, "-", stdin=text)


@WAYS
def test_helm_finds_no_fault(tool: Tool, values: dict[str, Any], tmp_path: Path) -> None:
    given = tmp_path / "values.yaml"
    given.write_text(json.dumps(values))
    succeeded(tool("helm", "lint", "--strict", CHART, "--values", given))


@WAYS
def test_every_object_is_one_that_kubernetes_takes(tool: Tool, schemas: Path, values: dict[str, Any]) -> None:
    text = _rendered(tool, values)
    said = succeeded(_conforms(tool, schemas, text))
    assert f"{len([each for each in yaml.safe_load_all(text) if each])} resources" in said
    assert "Skipped: 0" in said


def test_a_field_that_does_not_exist_is_noticed_in_each_kind_of_object(tool: Tool, schemas: Path) -> None:
    unnoticed = []
    for each in {found["kind"]: found for found in _objects(tool, EVERYTHING)}.values():
        place = each if each["kind"] in {"ConfigMap", "ServiceAccount"} else each["spec"]
        place["replcas"] = 3
        if _conforms(tool, schemas, yaml.safe_dump(each)).returncode == 0:
            unnoticed.append(each["kind"])
    assert unnoticed == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "CASAFLOW_TEMPORAL_ADDRESS"),
        (
            {"settings": {**NEEDED["settings"], "CASAFLOW_POSTGRES_URL": "postgresql://casaflow:secret@db/casaflow"}},
            "CASAFLOW_POSTGRES_URL",
        ),
        ({**NEEDED, "secrets": {"password": "secret"}}, "password"),
        ({**NEEDED, "consumers": {"auditt": {"replicas": 1}}}, "auditt"),
        ({**NEEDED, "image": {"digest": "latest"}}, "digest"),
        ({**NEEDED, "worker": {"autoscaling": {"kind": "magic"}}}, "kind"),
    ],
)
def test_values_that_can_not_be_right_are_refused_by_name(tool: Tool, values: dict[str, Any], named: str) -> None:
    done = tool("helm", "template", "bank", CHART, "--values", "-", stdin=json.dumps(values))
    assert done.returncode != 0
    assert named in done.stderr


@WAYS
def test_every_container_is_hardened_and_gets_its_secrets_as_files(tool: Tool, values: dict[str, Any]) -> None:
    known = {f"CASAFLOW_{field.upper()}" for field in Settings.model_fields}
    pods = {name: each["spec"]["template"]["spec"] for name, each in _of(_objects(tool, values), "Deployment", "Job").items()}
    assert pods
    for name, pod in pods.items():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        context = container["securityContext"]
        assert context == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name
        assert {"requests", "limits"} == set(container["resources"]), name
        variables = [each["name"] for each in container["env"]]
        assert len(variables) == len(set(variables)), name
        assert {each for each in variables if each.startswith("CASAFLOW_")} <= known, name
        secret = next(volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "secrets")
        assert secret == ("casaflow-owner" if name.endswith("-migrate") else "casaflow-application"), name


def test_what_serves_is_probed_kept_from_disruption_and_spread(tool: Tool) -> None:
    objects = _objects(tool, NEEDED)
    deployments, budgets = _of(objects, "Deployment"), _of(objects, "PodDisruptionBudget")
    assert {name.removeprefix("bank-casaflow-") for name in deployments} == {
        "api", "worker-0-1-0", "relay", *(f"consumer-{group}" for group in ALL_GROUPS)
    }  # fmt: skip
    assert set(budgets) == set(deployments)
    for name, each in deployments.items():
        selector = each["spec"]["selector"]["matchLabels"]
        pod = each["spec"]["template"]
        assert selector.items() <= pod["metadata"]["labels"].items(), name
        assert budgets[name]["spec"]["selector"]["matchLabels"] == selector, name
        (container,) = pod["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name
        ports = {port["name"] for port in container["ports"]}
        assert container["readinessProbe"]["httpGet"]["port"] in ports, name
        assert {spread["topologyKey"] for spread in pod["spec"]["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone", "kubernetes.io/hostname"
        }, name  # fmt: skip
        # Longer than each process takes to finish what it has.
        assert pod["spec"]["terminationGracePeriodSeconds"] > 20, name
    api = deployments["bank-casaflow-api"]["spec"]["template"]["spec"]["containers"][0]
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert api["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_workers_scale_with_the_backlog_of_their_own_version(tool: Tool) -> None:
    objects = _objects(tool, EVERYTHING)
    scaled, deployments = _of(objects, "ScaledObject"), _of(objects, "Deployment")
    assert set(scaled) == {"bank-casaflow-worker-0-1-0", "bank-casaflow-worker-0-2-0"}
    for name, each in scaled.items():
        spec = each["spec"]
        assert spec["scaleTargetRef"]["name"] == name
        assert "replicas" not in deployments[name]["spec"], "or each upgrade would undo what the scaler did"
        container = deployments[name]["spec"]["template"]["spec"]["containers"][0]
        build_id = next(variable["value"] for variable in container["env"] if variable["name"] == "CASAFLOW_WORKER_BUILD_ID")
        metadata = {trigger["metadata"]["queueTypes"]: trigger["metadata"] for trigger in spec["triggers"]}
        assert metadata["workflow"]["workerDeploymentBuildId"] == build_id
        assert metadata["workflow"]["taskQueue"] == "casaflow-transactions"
        assert metadata["activity"]["taskQueue"] == "casaflow-transactions-files"
        assert all(isinstance(value, str) for found in metadata.values() for value in found.values())
    assert scaled["bank-casaflow-worker-0-2-0"]["spec"]["minReplicaCount"] == 3
    assert scaled["bank-casaflow-worker-0-1-0"]["spec"]["minReplicaCount"] == 2
    old = deployments["bank-casaflow-worker-0-1-0"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert old == "registry.bank.example/casaflow:0.1.0"
    new = deployments["bank-casaflow-worker-0-2-0"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert new == f"registry.bank.example/casaflow@{DIGEST}"
    plain = _objects(tool, PLAIN)
    assert set(_of(plain, "HorizontalPodAutoscaler")) == {"bank-casaflow-worker-0-1-0"}
    assert not _of(plain, "ScaledObject")
    assert _of(plain, "Deployment")["bank-casaflow-worker-0-0-9"]["spec"]["replicas"] == 1


def test_an_upgrade_migrates_first_and_promotes_last(tool: Tool) -> None:
    objects = _objects(tool, EVERYTHING)
    jobs, deployments = _of(objects, "Job"), _of(objects, "Deployment")
    migrate, promote = jobs["bank-casaflow-migrate"], jobs["bank-casaflow-promote"]
    assert migrate["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert promote["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    (container,) = migrate["spec"]["template"]["spec"]["containers"]
    assert container["image"] == deployments["bank-casaflow-api"]["spec"]["template"]["spec"]["containers"][0]["image"]
    # What the migration needs must be there before it: hooks come before everything else of the chart.
    assert "serviceAccountName" not in migrate["spec"]["template"]["spec"]
    policy = _of(objects, "NetworkPolicy")["bank-casaflow"]
    assert int(policy["metadata"]["annotations"]["helm.sh/hook-weight"]) < int(migrate["metadata"]["annotations"]["helm.sh/hook-weight"])
    assert promote["spec"]["template"]["spec"]["containers"][0]["args"][:2] == ["promote", "0.2.0"]


def test_each_port_that_a_process_needs_is_let_through_and_no_other(tool: Tool) -> None:
    policies = _of(_objects(tool, EVERYTHING), "NetworkPolicy")
    out = {name: {port["port"] for rule in each["spec"].get("egress", []) for port in rule["ports"]} for name, each in policies.items()}
    assert out["bank-casaflow"] == {53, 5432, 7233, 9092, 4318}
    assert out["bank-casaflow-outside"] == {443}
    assert out["bank-casaflow-mail"] == {587}
    (postgres,) = [rule for rule in policies["bank-casaflow"]["spec"]["egress"] if rule["ports"][0]["port"] == 5432]
    assert postgres["to"] == [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    assert policies["bank-casaflow"]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_rules_and_dashboards_are_those_of_the_compose_file(tool: Tool) -> None:
    objects = _objects(tool, EVERYTHING)
    rules = OBSERVABILITY / "prometheus" / "casaflow.rules.yml"
    ours = rules.read_text(encoding="utf-8").replace(
        "https://casaflow.bank.example/docs/operating/runbooks", "https://wiki.bank.example/runbooks"
    )
    assert _of(objects, "PrometheusRule")["bank-casaflow"]["spec"] == yaml.safe_load(ours)
    shipped = _of(objects, "ConfigMap")["bank-casaflow-dashboards"]["data"]
    wanted = {f"casaflow-{path.name}": json.loads(path.read_text()) for path in (OBSERVABILITY / "grafana" / "dashboards").glob("*.json")}
    assert {name: json.loads(text) for name, text in shipped.items()} == wanted
    jobs = {each["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["replacement"] for each in _of(objects, "PodMonitor").values()}
    scraped = {job["job_name"] for job in load(OBSERVABILITY / "prometheus" / "prometheus.yml")["scrape_configs"]}
    assert jobs == {job for job in scraped if job.startswith("casaflow-")}
