"""What Kubernetes gets of deploy/ is what it knows, fits the service, and may do little else.

Helm renders the chart with the values in its ci/; the schemas are Kubernetes' own.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from grounded_labeler import __version__
from grounded_labeler.cli import deploy
from grounded_labeler.settings import Settings, secret_fields, variable_names
from tests.deploy.conftest import Helm
from tools.write_chart_schema import CHART, SCHEMA, settings_schema

pytestmark = pytest.mark.slow

PLAIN = CHART.parents[1] / "kubernetes.yaml"
EXAMPLES = sorted((CHART / "ci").glob("*.yaml"))
# Of the oldest Kubernetes that the chart is for, and of the newest that there are schemas of.
OLDEST, NEWEST = "1.25.0", kubernetes_validate.latest_version()
NAME = "try-grounded-labeler"
# Ray's own, which it reads itself; RAY_ADDRESS is a setting.
OF_RAY = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED", "HEAD"}

Manifest = dict[str, Any]
by_example = pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)


def manifests(text: str) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(text) if one]


def render(helm: Helm, values: Path, *more: str, chart: Path = CHART) -> list[Manifest]:
    return manifests(helm("template", "try", chart, "--values", values, *more).stdout)


def check(rendered: list[Manifest], version: str) -> None:
    """Raises kubernetes_validate.ValidationError for a key or a type that Kubernetes lacks."""
    assert rendered
    for one in rendered:
        if one["kind"] != "ServiceMonitor":  # Prometheus' own; compared in full below
            kubernetes_validate.validate(one, version, strict=True)


def only(rendered: list[Manifest], kind: str, name: str = NAME) -> Manifest:
    [found] = [
        one for one in rendered if one["kind"] == kind and one["metadata"]["name"] == name
    ]  # fmt: skip
    return found


def pods(rendered: list[Manifest]) -> list[Manifest]:
    return [one["spec"]["template"] for one in rendered if one["kind"] == "Deployment"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def variables(container: Manifest) -> dict[str, str]:
    names = [item["name"] for item in container["env"]]
    assert len(names) == len(set(names))
    return {item["name"]: item["value"] for item in container["env"]}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@by_example
def test_kubernetes_knows_all_that_the_chart_says(helm: Helm, values: Path, version: str) -> None:
    check(render(helm, values), version)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_all_that_the_plain_manifest_says(version: str) -> None:
    check(manifests(PLAIN.read_text()), version)


@pytest.mark.parametrize(
    ("template", "right", "wrong"),
    [
        ("deployment.yaml", "failureThreshold: 4", "failureTreshold: 4"),
        ("deployment.yaml", "httpGet: {path: /ready, port: http}", "httpGet: {path: /ready}"),
        ("_helpers.tpl", "runAsUser: 10001", "runAsUser: root"),
        ("ray.yaml", "clusterIP: None", "clusterIPS: None"),
        ("networkpolicy.yaml", "protocol: UDP", "protokol: UDP"),
        ("ingress.yaml", "pathType: Prefix", "pathTyp: Prefix"),
        ("poddisruptionbudget.yaml", "maxUnavailable:", "maxAvailable:"),
        ("pvc.yaml", "accessModes:", "accessMode:"),
    ],
)
def test_a_wrong_key_in_a_template_is_found(
    helm: Helm, tmp_path: Path, template: str, right: str, wrong: str
) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    changed = chart / "templates" / template
    text = changed.read_text()
    assert right in text
    changed.write_text(text.replace(right, wrong, 1))
    values = CHART / "ci" / ("cpu.yaml" if template == "pvc.yaml" else "everything.yaml")
    with pytest.raises(kubernetes_validate.ValidationError):
        check(render(helm, values, chart=chart), NEWEST)


@by_example
def test_helm_finds_nothing_to_complain_of(helm: Helm, values: Path) -> None:
    helm("lint", "--strict", CHART, "--values", values)


@by_example
def test_pods_may_do_no_more_than_they_must(helm: Helm, values: Path) -> None:
    for pod in pods(render(helm, values)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts == {volume["name"] for volume in spec["volumes"]}
            places = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert {"/data", "/dev/shm"} <= places


@by_example
def test_the_settings_of_every_container_can_be_read(
    helm: Helm, values: Path, tmp_path: Path
) -> None:
    said = yaml.safe_load(values.read_text())
    secrets = {variable_names()[field][0] for field in secret_fields()}
    for pod in pods(render(helm, values)):
        [projected] = [one for one in pod["spec"]["volumes"] if one["name"] == "secrets"]
        files = {
            f"/secrets/{item['path']}"
            for source in projected["projected"]["sources"]
            for item in source["secret"]["items"]
        }
        for container in containers(pod):
            told = variables(container)
            assert not told.keys() & secrets
            given = {name: value for name, value in told.items() if value.startswith("/secrets/")}
            assert set(given.values()) <= files
            for name, path in given.items():
                content = tmp_path / Path(path).name
                content.write_text("postgresql://a:b@c/d" if "STORE" in path else "t0ken")
                told[name] = str(content)
            known = {name for names in variable_names().values() for name in names}
            extra = {item["name"] for item in said.get("extraEnv", ())}
            assert told.keys() <= known | OF_RAY | extra
            settings = Settings.from_env(told)
            assert settings.label_studio_url == said["settings"]["LABEL_STUDIO_URL"]


def test_numbers_reach_the_service_as_they_are_written(helm: Helm) -> None:
    given = {"CACHE_BYTES": "2000000000", "BOX_THRESHOLD": "0.25", "STRETCH": "true"}
    settings = ",".join(f"settings.{name}={value}" for name, value in given.items())
    rendered = render(helm, CHART / "ci" / "cpu.yaml", "--set", settings)
    [container] = only(rendered, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert given.items() <= variables(container).items()


@by_example
def test_services_and_policies_choose_pods_that_are_there(helm: Helm, values: Path) -> None:
    rendered = render(helm, values)
    labels = [pod["metadata"]["labels"] for pod in pods(rendered)]

    def chosen(wanted: dict[str, str]) -> int:
        return sum(wanted.items() <= own.items() for own in labels)

    for one in rendered:
        spec = one.get("spec", {})
        if one["kind"] == "Service":
            assert chosen(spec["selector"]) == 1
        if one["kind"] in {"Deployment", "PodDisruptionBudget"}:
            assert chosen(spec["selector"]["matchLabels"]) == 1
        if one["kind"] == "NetworkPolicy":
            assert chosen(spec["podSelector"]["matchLabels"]) >= 1
        if one["kind"] == "ServiceMonitor":
            services = [other for other in rendered if other["kind"] == "Service"]
            wanted = spec["selector"]["matchLabels"].items()
            assert sum(wanted <= other["metadata"]["labels"].items() for other in services) == 1


def test_a_gpu_is_asked_for_where_models_run(helm: Helm) -> None:
    def gpus(rendered: list[Manifest], name: str = NAME) -> Any:
        pod = only(rendered, "Deployment", name)["spec"]["template"]
        [limits] = [one["resources"]["limits"] for one in pod["spec"]["containers"]]
        taints = [one["key"] for one in pod["spec"].get("tolerations", ())]
        assert ("nvidia.com/gpu" in taints) == ("nvidia.com/gpu" in limits)
        return limits.get("nvidia.com/gpu")

    assert gpus(render(helm, CHART / "ci" / "cpu.yaml")) is None
    assert gpus(render(helm, CHART / "ci" / "gpu.yaml")) == 1
    ray = render(helm, CHART / "ci" / "ray.yaml")
    assert gpus(ray) is None
    assert gpus(ray, f"{NAME}-ray-head") is None
    assert gpus(ray, f"{NAME}-ray-worker") == 1


def test_the_prompts_outlive_the_release(helm: Helm) -> None:
    rendered = render(helm, CHART / "ci" / "cpu.yaml")
    claim = only(rendered, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    spec = only(rendered, "Deployment")["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    volumes = {one["name"]: one for one in spec["template"]["spec"]["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == NAME
    assert volumes["shared-memory"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}


def test_weights_are_fetched_to_the_volume_that_the_service_reads(helm: Helm) -> None:
    values = CHART / "ci" / "weights-on-volume.yaml"
    pod = only(render(helm, values), "Deployment")["spec"]["template"]["spec"]
    [first], [service] = pod["initContainers"], pod["containers"]
    assert first["image"] == f"registry.example/grounded-labeler:{__version__}-maker"
    assert first["args"] == ["grounded-labeler", "weights"]
    assert variables(first)["MODEL_DIR"] == variables(service)["MODEL_DIR"] == "/data/models"
    on_gpus = only(render(helm, values, "--set", "device=cuda"), "Deployment")
    [first] = on_gpus["spec"]["template"]["spec"]["initContainers"]
    assert first["image"] == f"registry.example/grounded-labeler:{__version__}-cuda"
    assert first["args"] == ["grounded-labeler", "weights", "--no-export"]


def test_the_head_puts_the_models_on_the_cluster_that_the_service_calls(
    helm: Helm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = render(helm, CHART / "ci" / "ray.yaml")
    head = only(rendered, "Deployment", f"{NAME}-ray-head")["spec"]["template"]["spec"]
    [script] = head["containers"][0]["args"]
    lines = script.replace("\\\n", " ").splitlines()
    [command] = [line for line in lines if line.startswith("grounded-labeler deploy")]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # The options are read before the missing address is.
    assert deploy.main(shlex.split(command)[2:]) == 1
    assert "RAY_ADDRESS" in capsys.readouterr().err
    assert "--max-replicas=2" in command
    assert "--gpus=1" in command
    [service] = only(rendered, "Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {one["port"] for one in only(rendered, "Service", f"{NAME}-ray-head")["spec"]["ports"]}
    assert variables(service)["RAY_ADDRESS"] == f"ray://{NAME}-ray-head:10001"
    assert {int(port) for port in re.findall(r"port=(\d+)", script)} == ports == {6379, 10001}
    policy = only(rendered, "NetworkPolicy", f"{NAME}-ray")["spec"]
    [callers] = policy["ingress"]
    assert callers == {"from": [{"podSelector": {"matchLabels": {
        "app.kubernetes.io/name": "grounded-labeler", "app.kubernetes.io/instance": "try",
    }}}]}  # fmt: skip


def test_prometheus_reads_the_metrics_with_the_password(helm: Helm) -> None:
    rendered = render(helm, CHART / "ci" / "everything.yaml")
    name = "labeler-of-team"
    [endpoint] = only(rendered, "ServiceMonitor", name)["spec"].pop("endpoints")
    assert endpoint == {
        "port": "http",
        "path": "/metrics",
        "interval": "15s",
        "basicAuth": {
            "username": {"name": name, "key": "BASIC_AUTH_USER"},
            "password": {"name": "label-studio", "key": "password"},
        },
    }
    assert only(rendered, "Secret", name)["data"]["BASIC_AUTH_USER"] == "bGFiZWxlcg=="
    assert only(rendered, "ServiceMonitor", name)["spec"].keys() == {"selector"}
    [port] = only(rendered, "Service", name)["spec"]["ports"]
    assert port["name"] == "http"


def test_a_policy_names_label_studio_in_both_directions(helm: Helm) -> None:
    said = yaml.safe_load((CHART / "ci" / "everything.yaml").read_text())["networkPolicy"]
    rendered = render(helm, CHART / "ci" / "everything.yaml")
    policy = only(rendered, "NetworkPolicy", "labeler-of-team")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    [callers] = policy["ingress"]
    assert callers["from"] == said["labelStudio"] + said["callers"]
    called = [(rule.get("to"), [port["port"] for port in rule.get("ports", ())])
              for rule in policy["egress"]]  # fmt: skip
    assert called[0] == (said["labelStudio"], [8085])
    assert called[1] == (None, [53, 53])
    assert ([{"ipBlock": {"cidr": "0.0.0.0/0"}}], [443]) in called
    assert (said["egress"][0]["to"], [5432]) in called
    # An empty list of peers would mean everybody.
    assert all(to != [] for to, _ in called)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("settings.DETECTR=demo", "'DETECTR' not allowed"),
        ("settings.PREANNOTATE=false", "/settings/PREANNOTATE': got boolean, want string"),
        ("settings.LABEL_STUDIO_API_KEY=t0ken", "'LABEL_STUDIO_API_KEY' not allowed"),
        ("settings.WORKERS=many", "/settings/WORKERS': got string, want integer"),
        ("replica=2", "'replica' not allowed"),
        ("device=gpu", "/device': value must be one of 'cpu', 'cuda'"),
        ("persistence.size=ten", "/persistence/size': 'ten' does not match"),
        ("image.repository=", "image.repository: name the REGISTRY/NAME"),
        ("secrets.LABEL_STUDIO_API_KEY.value=t0ken", "set existingSecret, with its key, or value"),
        ("replicas=2", "replicas: more than one need secrets.PROMPT_STORE"),
        ("ingress.enabled=true", "ingress.hosts: name the host"),
        ("networkPolicy.enabled=true", "networkPolicy.labelStudio: say which pods"),
        ("ray.enabled=true", "secrets.RAY_AUTH_TOKEN: whoever reaches a Ray cluster"),
        ("ray.enabled=true,secrets.RAY_AUTH_TOKEN.value=t0ken", "image.tag: ray.enabled needs"),
        (
            "ray.enabled=true,image.tag=ray,secrets.RAY_AUTH_TOKEN.value=t,settings.RAY_ADDRESS=a:1",
            "settings.RAY_ADDRESS: ray.enabled makes",
        ),
        ("weights.onVolume=true,settings.MODEL_DIR=/a", "settings.MODEL_DIR: weights.onVolume"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_sentence(helm: Helm, given: str, sentence: str) -> None:
    values = CHART / "ci" / "cpu.yaml"
    done = helm("template", "try", CHART, "--values", values, "--set", given, check=False)
    assert done.returncode != 0
    assert sentence in done.stderr


@by_example
def test_the_notes_name_what_there_is(helm: Helm, values: Path) -> None:
    told = helm("install", "try", CHART, "--dry-run=client", "--values", values).stdout
    notes = told.partition("\nNOTES:\n")[2]
    rendered = render(helm, values)
    [deployment] = re.findall(r"rollout status deployment/(\S+)", notes)
    only(rendered, "Deployment", deployment)
    [(service, port)] = re.findall(r"http://([\w-]+)\.default:(\d+)$", notes, re.M)
    [offered] = only(rendered, "Service", service)["spec"]["ports"]
    assert offered["port"] == int(port)


def test_the_settings_in_the_schema_are_those_of_the_service() -> None:
    held = json.loads(SCHEMA.read_text())["properties"]["settings"]["properties"]
    assert held == settings_schema(), "run `python -m tools.write_chart_schema`"


def test_the_secrets_in_the_schema_are_those_of_the_service() -> None:
    held = json.loads(SCHEMA.read_text())["properties"]["secrets"]["properties"]
    assert held.keys() == {variable_names()[field][0] for field in secret_fields()} | {
        "RAY_AUTH_TOKEN"
    }


def _leaves(values: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The values that can be set, by their path; what goes to Kubernetes as it is counts as one."""
    if isinstance(values, dict) and values and path[-1:] != ("resources",):
        for key, value in values.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


def _described(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths that a schema knows."""
    if "properties" in schema and path[-1:] not in (("resources",), ("settings",), ("secrets",)):
        for key, value in schema["properties"].items():
            yield from _described(value, (*path, key))
    else:
        yield path


def test_the_schema_knows_the_values_and_no_others() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    described = set(_described(json.loads(SCHEMA.read_text())))
    # Helm hands `global` to every chart that is part of another.
    assert described == {*_leaves(values), ("global",)}


def test_every_value_has_a_comment() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    bare = [
        line
        for before, line in pairwise(lines)
        if re.match(r" *\w+:", line)
        and not before.lstrip().startswith("#")
        # A group's values have theirs, and resources are Kubernetes' own.
        and not (line.endswith(":") or re.match(r" *(requests|limits):", line))
    ]
    assert bare == []


def test_one_example_sets_every_value_to_another() -> None:
    default = yaml.safe_load((CHART / "values.yaml").read_text())
    example = yaml.safe_load((CHART / "ci" / "everything.yaml").read_text())
    on = {path for path in _leaves(default) if path[-1] == "enabled"}
    same = {
        path
        for path in _leaves(default)
        if path not in on and _at(example, path) == _at(default, path)
    }
    assert same == set()
    assert all(map(partial(_at, example), on))


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert chart["kubeVersion"] == f">={OLDEST}-0"
    texts = [(CHART / name).read_text() for name in ("README.md", "values.yaml")]
    texts += [path.read_text() for path in EXAMPLES]
    tags = re.findall(r"\b(\d+\.\d+\.\d+)-(?:cpu|cuda|maker)", "\n".join(texts))
    assert len(tags) > 5
    assert set(tags) == {__version__}
