"""The files of deploy/ and rabbitmq/ parse, agree with each other and with the code."""

from __future__ import annotations

import base64
import configparser
import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from cifra_jobs.brokers.rabbitmq import topology

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DEFINITIONS = ["definitions.json", "definitions-3.x.json"]


def definitions(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "rabbitmq" / name).read_text())
    return loaded


def k8s() -> list[dict[str, Any]]:
    files = sorted((DEPLOY / "k8s").glob("*.yaml"))
    return [part for file in files for part in yaml.safe_load_all(file.read_text())]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def entries() -> set[str]:
    return set(yaml.safe_load((ROOT / "workers" / "worker_config.yaml").read_text())["workers"])


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_definitions", DEPLOY / "definitions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(arguments: list[str]) -> str | None:
    return arguments[arguments.index("--worker") + 1] if "--worker" in arguments else None


@pytest.mark.parametrize(("name", "version"), [(DEFINITIONS[0], (4, 1)), (DEFINITIONS[1], (3, 10))])
def test_the_policies_are_those_that_the_code_leans_on(name: str, version: tuple[int, int]) -> None:
    expected = {
        policy.name: (policy.pattern, dict(policy.definition), policy.apply_to, policy.priority)
        for policy in topology.policies("cifra")
        if policy.versions[0] <= version
        and (policy.versions[1] is None or version < policy.versions[1])
    }
    shipped = {
        p["name"]: (p["pattern"], p["definition"], p["apply-to"], p["priority"])
        for p in definitions(name)["policies"]
    }
    assert shipped == expected


def test_both_files_of_definitions_differ_in_policies_only() -> None:
    new, old = (definitions(name) for name in DEFINITIONS)
    assert {**new, "policies": []} == {**old, "policies": []}


def test_no_definition_holds_a_queue_or_a_password() -> None:
    for name in DEFINITIONS:
        loaded = definitions(name)
        assert set(loaded) == {"vhosts", "users", "permissions", "policies"}
        assert all(user["password_hash"] == "" for user in loaded["users"])


def test_every_user_has_permissions_and_only_topology_may_configure() -> None:
    loaded = definitions("definitions.json")
    rows = {row["user"]: row for row in loaded["permissions"]}
    assert set(rows) == {user["name"] for user in loaded["users"]}
    assert {name for name, row in rows.items() if row["configure"] != "^$"} == {"cifra-topology"}


def test_the_permissions_name_what_the_topology_declares() -> None:
    names = topology.build("cifra", {"mail": topology.QueueSpec()})
    rows = {row["user"]: row for row in definitions("definitions.json")["permissions"]}
    queues = {queue.name for queue in names.queues}
    exchanges = {exchange.name for exchange in names.exchanges}
    readable = {name for name in queues if re.search(rows["cifra-worker"]["read"], name)}
    assert readable == {"cifra.q.mail"}
    writable = {name for name in exchanges if re.search(rows["cifra-producer"]["write"], name)}
    levels = {name for name in exchanges if re.fullmatch(r"cifra\.delay\.\d\d", name)}
    assert writable == {"cifra.task"} | levels
    writable = {name for name in exchanges if re.search(rows["cifra-worker"]["write"], name)}
    assert writable == {"cifra.task", "cifra.dlx"} | levels
    configure = rows["cifra-topology"]["configure"]
    assert all(re.search(configure, name) for name in queues | exchanges)


def test_a_password_becomes_a_salted_hash_and_others_stay_locked_out() -> None:
    filled = script().with_passwords(definitions("definitions.json"), {"worker": "w"})
    users = {user["name"]: user["password_hash"] for user in filled["users"]}
    kept = base64.b64decode(users.pop("cifra-worker"))
    assert kept[4:] == hashlib.sha256(kept[:4] + b"w").digest()
    assert set(users.values()) == {""}


def test_a_password_for_nobody_is_refused_with_the_known_names() -> None:
    with pytest.raises(KeyError, match=r"CIFRA_PASSWORD_WORKR .*CIFRA_PASSWORD_WORKER"):
        script().with_passwords(definitions("definitions.json"), {"workr": "w"})


def test_compose_runs_a_worker_for_every_entry_of_the_worker_file() -> None:
    services = compose()["services"].values()
    assert {started(service.get("command", [])) for service in services} - {None} == entries()


def test_kubernetes_runs_a_deployment_for_every_entry_of_the_worker_file() -> None:
    pods = [part["spec"]["template"]["spec"] for part in k8s() if part["kind"] == "Deployment"]
    args = [container["args"] for pod in pods for container in pod["containers"]]
    assert {started(arguments) for arguments in args} - {None} == entries()


def test_every_platform_waits_longer_than_a_worker_drains() -> None:
    config = next(part for part in k8s() if part["kind"] == "ConfigMap")["data"]
    for part in k8s():
        if part["kind"] == "Deployment" and part["metadata"]["name"] != "cifra-dashboard":
            pod = part["spec"]["template"]["spec"]
            assert pod["terminationGracePeriodSeconds"] > float(config["CIFRA_SHUTDOWN_GRACE"])
            assert {"livenessProbe", "readinessProbe"} <= set(pod["containers"][0])
    unit = (DEPLOY / "systemd" / "cifra-worker@.service").read_text()
    grace, limit = (
        float(re.findall(rf"{name}=(\d+)", unit)[0])
        for name in ("CIFRA_SHUTDOWN_GRACE", "TimeoutStopSec")
    )
    assert limit > grace
    assert compose()["services"]["default"]["stop_grace_period"] == "45s"


def test_ports_of_the_laptop_are_open_to_the_laptop_only() -> None:
    ports = [
        port for service in compose()["services"].values() for port in service.get("ports", [])
    ]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").iterdir()), ids=lambda path: path.name)
def test_systemd_units_parse_and_restart(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way
    parser.read_string(unit.read_text())
    assert parser["Service"]["Restart"] == "always"
    assert parser["Service"]["ExecStart"].startswith("/srv/cifra/.venv/bin/cifra ")


def test_the_image_installs_only_locked_packages() -> None:
    lock = (DEPLOY / "requirements.lock").read_text()
    everything = (ROOT / "requirements.lock").read_text()
    pins = set(re.findall(r"^\S+==[^ ;\\]+", lock, re.MULTILINE))
    assert pins <= set(re.findall(r"^\S+==[^ ;\\]+", everything, re.MULTILINE))
    assert "pytest==" not in lock
    for text in (lock, everything):
        assert "://" not in text
        assert "--index" not in text
