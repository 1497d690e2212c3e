"""What docker-compose.yml, .env.example and the manifest say fits the service."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grounded_labeler.settings import Settings, variable_names

ROOT = Path(__file__).parents[1]
OF_THE_IMAGE = {"PORT", "DATA_DIR", "DEFAULT_SEGMENTER"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
# Ray's own, which it reads itself.
RAY = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def settings() -> set[str]:
    return {name for names in variable_names().values() for name in names} - OF_THE_IMAGE


@pytest.mark.parametrize("service", ["labeler", "labeler-gpu"])
def test_every_setting_reaches_the_container(compose: Any, service: str) -> None:
    assert set(compose["services"][service]["environment"]) == settings() | PROXIES | RAY


def examples() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.M))


def test_the_example_names_every_setting() -> None:
    others = {"LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"}  # the other names of two
    assert settings() - examples().keys() == others


def test_the_example_names_all_that_compose_reads() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    read = set(re.findall(r"\$\{([A-Z_]+)", text)) - {"TAG", "DEVICE", "DEMO_TOKEN"}
    assert read - examples().keys() == set()


def test_the_example_s_values_are_the_defaults() -> None:
    told = {
        name: value
        for name, value in examples().items()
        if name in settings() and value and not name.startswith(("USE_", "LABEL_STUDIO_", "MODEL"))
    }
    for switch in ("ALLOWED_HOSTS", "SEGMENTER"):
        told.pop(switch)
    assert len(told) > 12
    assert Settings.from_env(told) == Settings.from_env({})


@pytest.mark.parametrize("service", ["labeler", "labeler-gpu", "labeler-demo", "seed-demo"])
def test_containers_may_do_no_more_than_they_must(compose: Any, service: str) -> None:
    made = compose["services"][service]
    assert made["read_only"] is made["init"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]


def test_the_manifest_is_one_pod_with_one_gpu_and_its_probes() -> None:
    text = (ROOT / "deploy" / "kubernetes.yaml").read_text()
    made = {one["kind"]: one for one in yaml.safe_load_all(text)}
    assert made.keys() == {"PersistentVolumeClaim", "Deployment", "Service"}
    [container] = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"]
             for probe in ("startup", "readiness", "liveness")}  # fmt: skip
    assert paths == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}
    told = {item["name"]: item.get("value", "x") for item in container["env"]}
    assert told.keys() <= settings()
    Settings.from_env(told)


@pytest.mark.parametrize(
    "name", ["docker-compose.yml", ".env.example", "Dockerfile", ".dockerignore"]
)
def test_lines_end_as_unix_ends_them(name: str) -> None:
    assert b"\r" not in (ROOT / name).read_bytes()
