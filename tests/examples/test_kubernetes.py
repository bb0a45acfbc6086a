"""The manifest for Kubernetes, its containers run one by one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from icis_cli import errors
from tests.examples.running import EXAMPLES, FITS, TOO_MUCH, require_plus_rows, started
from tests.test_schemas import validate

yaml = pytest.importorskip("yaml")


@pytest.fixture
def manifests() -> list[Any]:
    text = (EXAMPLES / "kubernetes" / "job.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


def containers(manifests: list[Any]) -> list[Any]:
    pod = manifests[0]["spec"]["template"]["spec"]
    return [*pod["initContainers"], *pod["containers"]]


@pytest.mark.parametrize("options", FITS)
def test_the_containers_of_the_kubernetes_job_add_classes_and_write_to_out_alone(
    here, manifests, tmp_path, options
):
    empty, out, temporary = (tmp_path / name for name in ("root", "out", "tmp"))
    for folder in (empty, out, temporary):
        folder.mkdir()
    places = {"in": here, "out": out}
    for name in ("injector.safetensors", "model.injected.pt", "model.injected.pt.icis.json"):
        (out / name).write_text("what a try before left here")
    before = {path: path.stat().st_mtime_ns for path in here.iterdir()}
    for container in containers(manifests):
        assert container["command"] == ["icis"]
        assert container["env"] == [{"name": "HOME", "value": "/tmp"}]
        arguments = [
            re.sub(r"(^|=)/(in|out)/", lambda m: f"{m[1]}{places[m[2]]}/", argument)
            for argument in container["args"]
        ]
        if container["name"] == "fit":
            arguments += options.split()
        done = started("icis", *arguments, cwd=empty, HOME=temporary)
        assert done.code == 0, done.err
        validate(container["name"], json.loads(done.out))
    require_plus_rows(here / "model.pt", out / "model.injected.pt")
    assert {path: path.stat().st_mtime_ns for path in here.iterdir()} == before
    assert list(empty.iterdir()) == []
    *arguments, _ = [argument.replace("0.3", str(TOO_MUCH)) for argument in arguments]
    assert started("icis", *arguments, cwd=empty).code == 3


def test_the_kubernetes_job_is_locked_down_and_tries_again_only_what_may_end_otherwise(manifests):
    job, policy = manifests
    assert (job["kind"], job["apiVersion"]) == ("Job", "batch/v1")
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # what podFailurePolicy needs
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in containers(manifests):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounts["/in"]["readOnly"]
        assert {mount["name"] for mount in mounts.values()} == volumes
        assert "memory" in container["resources"]["limits"]
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    final = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.IcisError)
    }
    assert rule["action"] == "FailJob"
    assert set(rule["onExitCodes"]["values"]) == final
    assert policy["kind"] == "NetworkPolicy"
    assert not {"ingress", "egress"} & set(policy["spec"])  # nothing is allowed
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
