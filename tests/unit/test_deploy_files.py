"""The files of deploy/ agree with each other and with the server: users, ports, probes, options, packages."""

import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from debertav3.cli.serve import serve
from debertav3.serve.app import openapi_document
from debertav3.serve.lifecycle import DRAIN_SECONDS

PORT, USER = 8000, 10001


@pytest.fixture(scope="module")
def deploy(repository: Path) -> Path:
    return repository / "deploy"


@pytest.fixture(scope="module")
def dockerfile(deploy: Path) -> list[tuple[str, str]]:
    """Its instructions, lines joined."""
    text = (deploy / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined)]


@pytest.fixture(scope="module")
def manifests(deploy: Path) -> dict[str, Any]:
    files = sorted((deploy / "kubernetes").glob("*.yaml"))
    found = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    return {one["kind"]: one for one in found}


def options_of(arguments: list[str]) -> set[str]:
    return {word for word in arguments if word.startswith("--")}


KNOWN = {f"--{name.replace('_', '-')}" for name in inspect.signature(serve).parameters}


def test_the_image_runs_the_server_without_root(dockerfile: list[tuple[str, str]]) -> None:
    last = {word: rest for word, rest in dockerfile}
    assert last["USER"] == f"{USER}:{USER}" and f"--uid {USER}" in last["RUN"]
    assert last["EXPOSE"] == str(PORT)
    command = json.loads(last["ENTRYPOINT"])
    assert command[:2] == ["debertav3", "serve"] and options_of(command) <= KNOWN
    assert command[command.index("--port") + 1] == str(PORT)
    assert f"http://127.0.0.1:{PORT}/health" in last["HEALTHCHECK"]


def test_what_the_image_copies_exists_and_is_let_through(
    dockerfile: list[tuple[str, str]], repository: Path
) -> None:
    ignored = (repository / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    copied = [
        path
        for word, rest in dockerfile
        if word == "COPY" and "--from" not in rest
        for path in rest.split()[:-1]
    ]
    assert len(copied) > 6
    for path in copied:
        assert (repository / path).exists() and f"!{path.removeprefix('./')}" in ignored, path


def test_probes_ask_routes_that_exist(manifests: dict[str, Any], deploy: Path) -> None:
    routes = openapi_document()["paths"]
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}
    assert set(paths.values()) <= routes.keys()  # type: ignore[attr-defined]
    (port,) = container["ports"]
    assert port["containerPort"] == PORT
    assert all(container[f"{name}Probe"]["httpGet"]["port"] == port["name"] for name in paths)
    compose = yaml.safe_load((deploy / "compose.yaml").read_text(encoding="utf-8"))["services"]["debertav3"]
    assert f"127.0.0.1:{PORT}/ready" in compose["healthcheck"]["test"][-1]


def test_the_pod_is_locked_down_and_has_time_to_finish(manifests: dict[str, Any]) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    locked = container["securityContext"]
    assert locked["readOnlyRootFilesystem"] and not locked["allowPrivilegeEscalation"]
    assert locked["capabilities"] == {"drop": ["ALL"]}
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] >= max(30, wait + DRAIN_SECONDS + 5)
    liveness = container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > DRAIN_SECONDS  # it drains in peace
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys() & container["resources"][
        "requests"
    ].keys()
    mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert mounted.values() == volumes.keys() or set(mounted.values()) == set(volumes)
    assert "emptyDir" in volumes[mounted["/tmp"]]
    assert options_of(container["args"]) <= KNOWN
    assert any(word.split("=")[-1].startswith("/models/") for word in container["args"])


def test_the_service_finds_the_pods(manifests: dict[str, Any]) -> None:
    deployment = manifests["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels == manifests["Service"]["spec"]["selector"]
    (container,) = deployment["template"]["spec"]["containers"]
    (port,) = manifests["Service"]["spec"]["ports"]
    assert port["targetPort"] in {one["name"] for one in container["ports"]}
    notes = deployment["template"]["metadata"]["annotations"]
    assert (
        notes["prometheus.io/port"] == str(PORT)
        and notes["prometheus.io/path"] in openapi_document()["paths"]
    )  # type: ignore[operator]


def test_every_manifest_is_applied(deploy: Path, manifests: dict[str, Any]) -> None:
    files = {path.name for path in (deploy / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(manifests["Kustomization"]["resources"]) == files


def test_compose_runs_the_same_image_as_safely(deploy: Path) -> None:
    compose = yaml.safe_load((deploy / "compose.yaml").read_text(encoding="utf-8"))["services"]["debertav3"]
    assert (
        deploy / compose["build"]["context"] / compose["build"]["dockerfile"]
    ).resolve() == deploy / "Dockerfile"
    assert compose["read_only"] and compose["user"] == f"{USER}:{USER}" and compose["cap_drop"] == ["ALL"]
    assert compose["ports"] == [f"127.0.0.1:{PORT}:{PORT}"] and "/tmp" in compose["tmpfs"]
    assert int(compose["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    assert options_of(compose["command"]) <= KNOWN
    assert compose["volumes"][0].split(":")[1] == compose["command"][-1].partition("=")[2]


def pinned(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all("--hash=sha256:" in line for line in lines), path
    return {
        canonicalize_name(name): version for name, version in (line.split()[0].split("==") for line in lines)
    }


def test_packages_of_the_image_are_pinned_and_those_of_the_tests(repository: Path) -> None:
    folder = repository / "deploy" / "requirements"
    tested = dict(
        (canonicalize_name(name), version)
        for name, version in re.findall(
            r"^([\w-]+)==([\w.]+)", (repository / "constraints.txt").read_text(encoding="utf-8"), re.M
        )
    )
    for source in folder.glob("*.in"):
        lines = source.read_text(encoding="utf-8").splitlines()
        named = {canonicalize_name(line) for line in lines if line and not line.startswith("#")}
        found = pinned(source.with_suffix(".txt"))
        assert named == found.keys()
        for name, version in found.items():
            assert tested.get(name, version) == version, name
    light = pinned(folder / "light.txt")
    assert not {"torch", "transformers", "safetensors"} & light.keys()


def test_the_image_has_what_the_extra_says(repository: Path) -> None:
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    light = pinned(repository / "deploy" / "requirements" / "light.txt")
    for line in project["optional-dependencies"]["serve"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(light[canonicalize_name(wanted.name)]), line


def test_the_script_is_what_the_image_runs(dockerfile: list[tuple[str, str]]) -> None:
    runs = [shlex.split(rest) for word, rest in dockerfile if word == "RUN"]
    assert [
        "sh",
        "deploy/make_environment.sh",
        "/opt/debertav3",
        "/wheels/debertav3-*.whl",
        "$RUNTIME",
    ] in runs
