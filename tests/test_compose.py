"""What the compose files, .env.example and the manifest say fits the service."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from container.asking import asking
from container.test_demo import VISIT
from grounded_labeler.__about__ import __version__
from grounded_labeler.env_file import parse_env
from grounded_labeler.settings import Settings, variable_names
from grounded_labeler.settings_sources import OF_OTHERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
COMPOSE_FILES = ["docker-compose.yml", "docker-compose.build.yml"]
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
OF_THE_IMAGE = {"BIND", "PORT", "DATA_DIR"}


# An editable installation finds a module that was not copied where it was installed from.
_WITHOUT_THE_CHECKOUT = """
import runpy, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
runpy.run_module("grounded_labeler", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def building() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.build.yml").read_text())


def settings() -> set[str]:
    return {name for names in variable_names().values() for name in names} - OF_THE_IMAGE


@pytest.mark.parametrize("service", ["labeler", "labeler-gpu", "weights"])
def test_every_setting_reaches_the_container(compose: Any, service: str) -> None:
    assert set(compose["services"][service]["environment"]) == settings() | {*OF_OTHERS}


def examples() -> dict[str, str]:
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", ENV_EXAMPLE, re.M))


def test_the_example_names_every_setting() -> None:
    # By its first name, if it has two.
    first = {names[0] for names in variable_names().values()} - OF_THE_IMAGE
    assert examples().keys() & settings() == first


def test_the_example_as_it_is_can_be_started_with() -> None:
    values = parse_env((ROOT / ".env.example").read_text(), {})
    assert Settings.from_env(values).label_studio_url == values["LABEL_STUDIO_URL"]


def test_the_example_names_all_that_compose_reads() -> None:
    text = "".join((ROOT / name).read_text() for name in COMPOSE_FILES)
    read = set(re.findall(r"\$\{([A-Z_]+)", text)) - {"DEVICE", "DEMO_TOKEN"}
    assert read - examples().keys() == set()


def test_one_file_pulls_and_the_other_builds(compose: Any, building: Any) -> None:
    assert not [name for name, service in compose["services"].items() if "build" in service]
    assert building["services"].keys() == compose["services"].keys() - {"label-studio"}
    stages = re.findall(r"^ARG ([A-Z_]+)", (ROOT / "Dockerfile").read_text(), re.M)
    built = [service["build"] for service in building["services"].values() if "build" in service]
    assert len(built) == 4
    assert not [name for build in built for name in build["args"] if name not in stages]


def test_images_are_of_this_version_in_the_repository_that_must_be_named(
    compose: Any, building: Any
) -> None:
    ours = [*compose["services"].values(), *building["services"].values()]
    images = [one["image"] for one in ours if "image" in one and "heartexlabs" not in one["image"]]
    named = r"\$\{IMAGE(?:-|:\?[^}]+IMAGE[^}]+)\}:\$\{TAG:-(.+)\}-(?:cpu|cuda|maker|demo)"
    assert [re.fullmatch(named, image).group(1) for image in images] == [__version__] * 7  # type: ignore[union-attr]
    assert ":?" in compose["services"]["labeler"]["image"]
    assert examples()["TAG"] == __version__


def test_who_copies_the_example_builds() -> None:
    told = examples()
    assert told["COMPOSE_FILE"].split(told["COMPOSE_PATH_SEPARATOR"]) == COMPOSE_FILES
    assert re.search("^COMPOSE_FILE=.+\nCOMPOSE_PATH_SEPARATOR=:\nIMAGE=.+", ENV_EXAMPLE, re.M)


def test_the_example_s_values_are_the_defaults() -> None:
    told = {
        name: value
        for name, value in examples().items()
        if name in settings()
        and value
        and not name.startswith(("USE_", "LABEL_STUDIO_", "MODEL", "TLS_"))
    }
    for example in ("ALLOWED_HOSTS", "URL_PREFIX"):
        told.pop(example)
    assert len(told) > 12
    assert Settings.from_env(told) == Settings.from_env({})


@pytest.mark.parametrize(
    "service", ["labeler", "labeler-gpu", "labeler-demo", "seed-demo", "weights"]
)
def test_containers_may_do_no_more_than_they_must(compose: Any, service: str) -> None:
    made = compose["services"][service]
    assert made["read_only"] is made["init"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("service", ["labeler", "labeler-gpu", "labeler-demo"])
def test_compose_asks_for_health_as_the_image_does(compose: Any, service: str) -> None:
    """Podman does not read it from images; older engines refuse `start_interval` in compose."""
    said = (ROOT / "Dockerfile").read_text().split("\nHEALTHCHECK ")[1].split("\nCMD ")[0]
    of_image = dict(re.findall(r"--([a-z-]+)=(\w+)", said))
    made = dict(compose["services"][service]["healthcheck"])
    assert made.pop("test") == ["CMD", *json.loads(said.split("CMD ")[1])]
    del of_image["start-interval"]
    assert made == {name.replace("-", "_"): value for name, value in of_image.items()}


def test_the_manifest_is_one_pod_with_one_gpu_and_its_probes(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "kubernetes.yaml").read_text()
    made = {one["kind"]: one for one in yaml.safe_load_all(text)}
    assert made.keys() == {"PersistentVolumeClaim", "Deployment", "Service"}
    [container] = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"]
             for probe in ("startup", "readiness", "liveness")}  # fmt: skip
    assert paths == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}
    told = {item["name"]: item["value"] for item in container["env"]}
    assert told.keys() <= settings()
    pod = made["Deployment"]["spec"]["template"]["spec"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    [secrets] = [one for one in container["volumeMounts"] if one["name"] == "secrets"]
    assert told["LABEL_STUDIO_API_KEY_FILE"] == f"{secrets['mountPath']}/token"
    token = tmp_path / "token"
    token.write_text("t0ken")
    Settings.from_env(told | {"LABEL_STUDIO_API_KEY_FILE": str(token)})


@pytest.mark.parametrize("service", ["labeler", "labeler-gpu"])
def test_the_file_for_secrets_names_files_that_are_there(
    compose: Any, service: str, tmp_path: Path
) -> None:
    made = yaml.safe_load((ROOT / "deploy" / "compose.secrets.yaml").read_text())
    assert service in compose["services"]
    variables = made["services"][service]["environment"]
    # As compose reads them where nothing is set.
    told = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", text) for name, text in variables.items()}
    assert made["services"][service]["secrets"] == list(made["secrets"])
    files = {name: value for name, value in told.items() if name.endswith("_FILE")}
    assert sorted(files.values()) == sorted(f"/run/secrets/{name}" for name in made["secrets"])
    assert told.keys() <= settings()
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    Settings.from_env(told | dict.fromkeys(files, str(secret)) | {"LABEL_STUDIO_URL": "http://ls"})


def test_weights_are_fetched_by_no_more_modules_than_the_image_has_by_then(tmp_path: Path) -> None:
    stage = (ROOT / "Dockerfile").read_text().split(" AS weights\n")[1].split("\nFROM ")[0]
    for copied in re.findall(r"^COPY (grounded_labeler(?:[^\n]|(?<=\\)\n)+)$", stage, re.M):
        *names, folder = copied.replace("\\", " ").split()
        (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tmp_path / folder, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / name, tmp_path / folder)
    command = [sys.executable, "-c", _WITHOUT_THE_CHECKOUT, "weights"]
    check = [*command, "--detector", "groundingdino-swint-ogc", "--check"]
    checked = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Weights are missing" in checked.stderr
    (tmp_path / "grounded_labeler" / "demo" / "weights").mkdir(parents=True)
    demo = [*command, "--detector", "demo", "--segmenter", "none", "--no-export"]
    done = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Without PyTorch the models that come with the package need graphs, too.
_DEMO = "-m grounded_labeler weights --detector demo --segmenter demo"


@pytest.mark.parametrize(
    ("weights", "device", "verify", "run"),
    [
        # Which verifies unless VERIFY=off.
        ("download", "cpu", "", ["-m grounded_labeler weights", _DEMO]),
        ("download", "cpu", "off", ["-m grounded_labeler weights", _DEMO]),
        ("download", "cuda", "", ["-m grounded_labeler verify"]),
        ("download", "cuda", "off", []),
        ("none", "cpu", "", [_DEMO]),
        ("none", "cuda", "", []),
    ],
)
def test_the_build_verifies_the_models_and_leaves_the_images_of_that_out(
    tmp_path: Path, weights: str, device: str, verify: str, run: list[str]
) -> None:
    stage = (ROOT / "Dockerfile").read_text().split(" AS graphs\n")[1].split("\n# ----")[0]
    command = stage.split("target=/opt/venv \\\n")[1]
    fake = tmp_path / "python"
    fake.write_text(
        '#!/bin/sh\necho "$@"; mkdir -p models/verify models/openvino/a/compiled\n'
        "touch models/verify/a.jpg models/verify/a.json models/openvino/a/compiled/a.blob\n"
    )
    fake.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environ |= {"WEIGHTS": weights, "DEVICE": device}
    # An argument that nobody gives is not set at all, unless it has a default.
    if verify or re.search(r"^ARG VERIFY=", stage, re.M):
        environ["VERIFY"] = verify
    shell = ["bash", "-o", "pipefail", "-euc", command]
    ran = subprocess.run(
        shell, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == run
    assert (tmp_path / "models" / "openvino").is_dir()
    # What was compiled for the CPU of the build is of no use on another.
    assert not list(tmp_path.rglob("*.blob"))
    kept = [path.name for path in (tmp_path / "models" / "verify").iterdir()]
    assert kept == (["a.json"] if run else [])


@pytest.mark.parametrize(
    ("device", "service", "maker"),
    [("cpu", "requirements-cpu.txt", "requirements.txt"), ("cuda", "requirements.txt", "")],
)
def test_an_image_for_cpus_has_no_pytorch_but_the_one_that_makes_graphs_has(
    tmp_path: Path, device: str, service: str, maker: str
) -> None:
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    installed = {
        name: _installed(tmp_path / name, next(
            stage for stage in stages if f" AS {name}\n" in stage
        ), device)
        for name in ("packages", "all-packages")
    }  # fmt: skip
    in_each = _names(service) | _names("requirements-otel.txt")
    assert installed["packages"] == in_each - {"triton"}
    expected = _names(maker) - {"triton"} if maker else set()
    cuda = {name for name in expected if name.startswith(("nvidia-", "cuda-"))}
    assert installed["all-packages"] == expected - cuda
    # What runs is made of the first, what makes graphs of the second.
    copies = {stage.split("\n")[0]: stage for stage in stages}
    assert "--from=packages /opt/venv" in copies["program AS service"]
    assert "--from=all-packages /opt/venv" in copies["program AS maker"]
    assert "from=all-packages,source=/opt/venv" in copies["weights AS graphs"]


def _names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / lock).read_text(), re.M))


def _installed(folder: Path, stage: str, device: str) -> set[str]:
    """The packages that a stage of the Dockerfile has pip install."""
    script = stage.split("<<'INSTALL'\n")[1].split("\nINSTALL\n", maxsplit=1)[0]
    folder.mkdir()
    for lock in ROOT.glob("requirements*.txt"):
        shutil.copy(lock, folder)
    fake = folder / "python"
    fake.write_text('#!/bin/sh\nfor last; do :; done\n[ -f "$last" ] && cat "$last"; exit 0\n')
    fake.chmod(0o755)
    site = folder / "venv" / "lib" / "python3.11" / "site-packages"
    (site / "torch" / "bin").mkdir(parents=True)
    script = script.replace("/opt/venv", str(folder / "venv"))
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "DEVICE": device, "EXTRAS": ""}
    environ["TORCH_INDEX"] = "https://index.example"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-euc", script],
        cwd=folder, env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(re.findall(r"^([a-z0-9-]+)==", ran.stdout, re.M))


@pytest.mark.parametrize("name", [*COMPOSE_FILES, ".env.example", "Dockerfile", ".dockerignore"])
def test_lines_end_as_unix_ends_them(name: str) -> None:
    assert b"\r" not in (ROOT / name).read_bytes()


@pytest.mark.parametrize("script", [asking("red circle"), VISIT], ids=["a request", "a visit"])
def test_what_the_scripts_for_containers_import_is_there(script: str) -> None:
    """Only where an engine runs are they tried: names that moved would be noticed late."""
    imports = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert [name.name for name in node.names if not hasattr(module, name.name)] == []
