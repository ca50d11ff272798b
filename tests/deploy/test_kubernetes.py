"""The Kubernetes manifests are valid, and fit each other, the image and the server."""

from __future__ import annotations

import re
from copy import deepcopy

import kubernetes_validate
import pytest

from tests.deploy.files import Json, container, manifests, of_kind, pods, seconds_to_stop
from tests.support.source_files import ROOT
from utils.config.version import VERSION

RELEASES = ("1.32", "1.37")
"""The oldest release that the manifests are for, and the newest that the schemas know."""


def test_the_manifests_follow_the_schemas_of_kubernetes() -> None:
    for one in manifests():
        for release in RELEASES:
            assert kubernetes_validate.validate(one, release, strict=True) == release
    wrong = deepcopy(of_kind("Deployment")[0])
    container(wrong["spec"]["template"])["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


def selector(one: Json) -> Json:
    """Return the labels that an object chooses pods by; none if it chooses none."""
    spec = one.get("spec", {})
    found: Json = spec.get("podSelector") or spec.get("selector") or {}
    labels: Json = found.get("matchLabels", found)
    return labels


def test_what_chooses_pods_chooses_those_of_its_own_name() -> None:
    chosen = {
        f"{one['kind']} {one['metadata']['name']}": [
            name
            for name, pod in pods().items()
            if selector(one).items() <= pod["metadata"]["labels"].items()
        ]
        for one in manifests()
        if selector(one)
    }
    assert {key.split()[0] for key in chosen} == {
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    }
    assert all(key.split()[1:] == names for key, names in chosen.items())


def test_requests_find_the_port_of_the_server() -> None:
    web = container(pods()["async-code-web"])
    (port,) = web["ports"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"EXPOSE {port['containerPort']}\n" in dockerfile
    (service,), (ingress,) = of_kind("Service"), of_kind("Ingress")
    assert [one["targetPort"] for one in service["spec"]["ports"]] == [port["name"]]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == service["metadata"]["name"]
    assert path["backend"]["service"]["port"]["name"] == service["spec"]["ports"][0]["name"]
    rules = [rule for one in of_kind("NetworkPolicy") for rule in one["spec"].get("ingress", [])]
    assert [rule["ports"] for rule in rules] == [[{"port": port["name"]}]]


def test_a_pod_has_the_time_that_the_end_of_the_program_takes() -> None:
    for name, pod in pods().items():
        if name != "async-code-migrate":
            pause = container(pod).get("lifecycle", {}).get("preStop", {}).get("sleep", {})
            needed = seconds_to_stop() + pause.get("seconds", 0)
            assert pod["spec"]["terminationGracePeriodSeconds"] >= needed


def test_a_pod_is_the_user_of_the_image_and_has_no_rights() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (ids,) = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    for pod in pods().values():
        shared, own = pod["spec"]["securityContext"], container(pod)["securityContext"]
        assert (str(shared["runAsUser"]), str(shared["runAsGroup"])) == ids
        # The Pod Security Standard `restricted`.
        assert shared["runAsNonRoot"]
        assert shared["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not own["allowPrivilegeEscalation"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        # The image's DATA_DIR, and what programs expect.
        assert {one["mountPath"] for one in container(pod)["volumeMounts"]} == {"/data", "/tmp"}
        assert container(pod)["image"].endswith(f":{VERSION}")
