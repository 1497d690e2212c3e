"""Where settings are from, and which names are taken for slips of the pen."""

import re
from pathlib import Path

import pytest

from grounded_labeler.errors import SettingsError
from grounded_labeler.settings import variable_names
from grounded_labeler.settings_sources import (
    ENV_FILE,
    OF_OTHERS,
    Effective,
    effective_settings,
    load_env_file,
    misspelt,
    warnings_of,
)

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BOX_TRESHOLD", "BOX_THRESHOLD"),
        ("TEXT_TRESHHOLD", "TEXT_THRESHOLD"),
        ("box_threshold", "BOX_THRESHOLD"),
        ("LABELSTUDIO_URL", "LABEL_STUDIO_URL"),
        ("LABEL_STUDO_API_KEY", "LABEL_STUDIO_API_KEY"),
        ("SEGMENTOR", "SEGMENTER"),
        ("DETECTER", "DETECTOR"),
        ("MODELS_DIR", "MODEL_DIR"),
        ("MODELDIR", "MODEL_DIR"),
        ("BASIC_AUTH_PASSWORD", "BASIC_AUTH_PASS"),
        ("BASIC_AUTH_USERNAME", "BASIC_AUTH_USER"),
        ("WORKER", "WORKERS"),
        ("REQIRE_GPU", "REQUIRE_GPU"),
        ("LOCAL_FILE_ROOT", "LOCAL_FILES_ROOT"),
        ("ACCEPT_LICENSES", "ACCEPT_LICENCES"),
        ("MODEL_DEADLIN", "MODEL_DEADLINE"),
        ("URL_PREFX", "URL_PREFIX"),
        ("TLS_CERTS", "TLS_CERT"),
    ],
)
def test_slips(name: str, meant: str) -> None:
    assert misspelt([name, "PATH"]) == [(name, meant)]


def test_a_slip_is_said_without_its_value() -> None:
    said = warnings_of({"BOX_TRESHOLD": "sekrit"})
    assert said == ["BOX_TRESHOLD is no setting: did you mean BOX_THRESHOLD?"]


def service_links(name: str, port: int) -> list[str]:
    """What Kubernetes sets in each container for a service of the namespace.

    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    ports = [f"{name}_PORT_{port}_TCP{end}" for end in ("", "_PROTO", "_PORT", "_ADDR")]
    return [
        f"{name}_SERVICE_HOST", f"{name}_SERVICE_PORT", f"{name}_SERVICE_PORT_HTTP",
        f"{name}_PORT", *ports,
    ]  # fmt: skip


# As they are set where this service runs: by images of Python and of CUDA, by Label Studio's own
# settings in the same file, by forges' runners, by desktops.
OTHERS = {
    "container": """PATH HOSTNAME HOME TERM LANG GPG_KEY PYTHON_VERSION PYTHON_SHA256 PYTHONPATH
        PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE TMPDIR RAY_TMPDIR HF_HUB_OFFLINE HF_HOME
        HF_HUB_CACHE OMP_NUM_THREADS MKL_NUM_THREADS NVIDIA_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES
        NVIDIA_DRIVER_CAPABILITIES CUDA_VERSION LD_LIBRARY_PATH NV_CUDA_LIB_VERSION NVARCH
        http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY TZ LC_ALL
        SERVER_SOFTWARE PROMETHEUS_MULTIPROC_DIR MALLOC_ARENA_MAX GUNICORN_FD GUNICORN_PID""",
    "Label Studio": """LABEL_STUDIO_USERNAME LABEL_STUDIO_PASSWORD LABEL_STUDIO_USER_TOKEN
        LABEL_STUDIO_PORT LABEL_STUDIO_BASE_DATA_DIR LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT
        LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN
        LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK LABEL_STUDIO_PROJECT_NAME POSTGRE_HOST POSTGRE_NAME
        POSTGRE_PORT POSTGRE_USER POSTGRE_PASSWORD DJANGO_DB ML_BLOCK_LOCAL_IP COLLECT_ANALYTICS
        SSRF_PROTECTION_ENABLED LATEST_VERSION_CHECK""",
    "OpenTelemetry": """OTEL_LOG_LEVEL OTEL_SERVICE_NAME OTEL_SDK_DISABLED OTEL_PROPAGATORS
        OTEL_RESOURCE_ATTRIBUTES OTEL_TRACES_EXPORTER OTEL_METRICS_EXPORTER OTEL_LOGS_EXPORTER
        OTEL_TRACES_SAMPLER OTEL_TRACES_SAMPLER_ARG OTEL_BSP_SCHEDULE_DELAY OTEL_BSP_MAX_QUEUE_SIZE
        OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_HEADERS
        OTEL_EXPORTER_OTLP_TIMEOUT OTEL_EXPORTER_OTLP_PROTOCOL OTEL_EXPORTER_OTLP_CERTIFICATE""",
    "forge": """CI GITHUB_ACTION GITHUB_ACTOR GITHUB_API_URL GITHUB_BASE_REF GITHUB_ENV
        GITHUB_EVENT_NAME GITHUB_EVENT_PATH GITHUB_HEAD_REF GITHUB_JOB GITHUB_OUTPUT GITHUB_PATH
        GITHUB_REF GITHUB_REPOSITORY GITHUB_RUN_ID GITHUB_SERVER_URL GITHUB_SHA GITHUB_STATE
        GITHUB_STEP_SUMMARY GITHUB_TOKEN GITHUB_WORKFLOW GITHUB_WORKSPACE RUNNER_ARCH RUNNER_OS
        RUNNER_TEMP RUNNER_TOOL_CACHE RUNNER_WORKSPACE ImageOS ImageVersion AGENT_TOOLSDIRECTORY
        JAVA_HOME ANDROID_HOME GOROOT_1_22_X64 CI_COMMIT_SHA CI_JOB_ID CI_JOB_TOKEN CI_PROJECT_DIR
        CI_PROJECT_URL CI_REGISTRY CI_REGISTRY_USER CI_REGISTRY_PASSWORD CI_SERVER_HOST
        CI_SERVER_PORT CI_SERVER_URL GITLAB_USER_LOGIN BUILD_ID BUILD_URL JOB_NAME NODE_NAME
        WORKSPACE JENKINS_URL EXECUTOR_NUMBER""",
    "desktop": """SHELL USER LOGNAME PWD OLDPWD SHLVL DISPLAY XDG_SESSION_TYPE XDG_DATA_DIRS
        XDG_RUNTIME_DIR XDG_CONFIG_DIRS DBUS_SESSION_BUS_ADDRESS EDITOR PAGER LS_COLORS
        SSH_AUTH_SOCK SSH_CONNECTION VIRTUAL_ENV CONDA_PREFIX COLORTERM _ WSL_DISTRO_NAME
        MAKEFLAGS MAKELEVEL MODULEPATH LOADEDMODULES HOST HOSTTYPE PORT_RANGE MODEL MODE
        OUTPUT_DIR LOG_DIR LOG_FILE DATA_ROOT DATABASE_URL HF_HUB_TOKEN RAY_HEAD_IP TOKEN""",
}


@pytest.mark.parametrize("place", OTHERS)
def test_names_of_others_are_no_slips(place: str) -> None:
    assert misspelt(OTHERS[place].split()) == []


@pytest.mark.parametrize(
    "name", ["GROUNDED_LABELER", "LABELER", "LABEL_STUDIO", "RAY_HEAD", "POSTGRES", "KUBERNETES",
             "MINIO", "SEGMENTER", "DETECTOR", "MODEL"],
)  # fmt: skip
def test_links_of_kubernetes_are_no_slips(name: str) -> None:
    assert misspelt(service_links(name, 9090)) == []


def test_what_the_project_itself_names_is_no_slip() -> None:
    text = "".join(
        (ROOT / name).read_text() for name in (".env.example", "docker-compose.yml", "Dockerfile")
    )
    names = set(re.findall(r"\b[A-Z][A-Z_]+[A-Z]\b", text))
    assert len(names) > 80
    assert misspelt(names) == []


def test_no_two_settings_are_slips_of_each_other() -> None:
    assert misspelt(name for names in variable_names().values() for name in names) == []


# .env


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(environ: dict[str, str]) -> dict[str, str]:
    load_env_file(environ)
    return environ


def test_the_environment_wins_over_the_file(folder: Path) -> None:
    (folder / ".env").write_text("BOX_THRESHOLD=0.4\nTILES=auto\nOUTPUT=both\n")
    environ = {"BOX_THRESHOLD": "0.5", "OUTPUT": ""}
    # Also where it is empty there, as compose has it.
    assert loaded(environ) == {"BOX_THRESHOLD": "0.5", "OUTPUT": "", "TILES": "auto"}


def test_of_the_file_only_settings_and_slips_are_taken(folder: Path) -> None:
    (folder / ".env").write_text(
        "COMPOSE_PROFILES=gpu\nMEMORY_LIMIT=1g\nPATH=/evil\nLD_PRELOAD=x\nBOX_TRESHOLD=1\n"
        "SCRIPT_NAME=/a\nSSL_CERT_FILE=ca.pem\n"
    )
    taken = {"BOX_TRESHOLD": "1", "SCRIPT_NAME": "/a", "SSL_CERT_FILE": "ca.pem"}
    assert loaded({}) == taken


def test_all_that_compose_hands_on_is_taken(folder: Path) -> None:
    compose = (ROOT / "docker-compose.yml").read_text().split("x-arguments")[0]
    handed_on = re.findall(r"^    - ([A-Z_]+)$", compose, re.M)
    (folder / ".env").write_text("".join(f"{name}=x\n" for name in handed_on))
    assert loaded({}).keys() == set(handed_on)
    assert set(OF_OTHERS) <= set(handed_on)


def test_without_a_file_there_is_nothing(folder: Path) -> None:
    assert loaded({}) == {}
    (folder / ".env").mkdir()  # as some name the folder of a virtual environment
    assert loaded({}) == {}


def test_another_file(folder: Path) -> None:
    (folder / ".env").write_text("TILES=auto")
    (folder / "other").write_text("TILES=640")
    assert loaded({ENV_FILE: "other"})["TILES"] == "640"
    assert loaded({ENV_FILE: "/dev/null"}) == {ENV_FILE: "/dev/null"}
    with pytest.raises(SettingsError, match="the file none cannot be read: No such file") as error:
        load_env_file({ENV_FILE: "none"})
    assert "set ENV_FILE to another" in str(error.value)


def test_a_file_that_cannot_be_read_is_one_sentence(folder: Path) -> None:
    (folder / ".env").write_text("TILES=auto\nHF_TOKEN='sekrit\n")
    with pytest.raises(SettingsError) as error:
        load_env_file({})
    assert str(error.value).startswith("Cannot start: the file .env cannot be read in line 2, HF_")
    assert "sekrit" not in str(error.value)


# Where they are from


def rows(environ: dict[str, str]) -> dict[str, Effective]:
    return {row.name: row for row in effective_settings(environ)}


def test_sources(folder: Path) -> None:
    (folder / "token").write_text("s3krit\n")
    (folder / ".env").write_text(
        "LABEL_STUDIO_URL=http://ls\nLABEL_STUDIO_ACCESS_TOKEN_FILE=token\nOUTPUT=both\n"
    )
    environ = {
        "OUTPUT": "masks", "USE_SAM": "true", "BIND": "[::1]:80", "SCRIPT_NAME": "/a",
        "ALLOWED_HOSTS": "nas, minio", "HF_TOKEN": "s3krit",
    }  # fmt: skip
    found = rows(environ)
    expected = {
        "OUTPUT": ("masks", "environment"),
        "LABEL_STUDIO_URL": ("http://ls", ".env"),
        "LABEL_STUDIO_API_KEY": ("********", "file token"),
        "LABEL_STUDIO_API_KEY_FILE": ("token", ".env, LABEL_STUDIO_ACCESS_TOKEN_FILE"),
        "HF_TOKEN": ("********", "environment"),
        "PROMPT_STORE": (None, "default"),
        "SEGMENTER": ("sam-vit-h", "environment, USE_SAM"),
        "USE_SAM": (True, "environment"),
        "PORT": (80, "environment, BIND"),
        "URL_PREFIX": ("/a", "environment, SCRIPT_NAME"),
        "ALLOWED_HOSTS": (["nas", "minio"], "environment"),
        "NMS_THRESHOLD": (0.7, "default"),
    }
    assert {name: (found[name].value, found[name].source) for name in expected} == expected
    assert found.keys() == {names[0] for names in variable_names().values()}
    assert "s3krit" not in repr(found)


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"USE_SAM": "false"}, "environment, USE_SAM"),
        ({"USE_SAM": "true", "USE_MOBILE_SAM": "false"}, "environment, USE_SAM"),
        ({"USE_SAM": "false", "SEGMENTER": "none"}, "environment"),
        ({}, "default"),
    ],
)
def test_what_decides_of_the_segmenter(folder: Path, environ: dict[str, str], source: str) -> None:
    assert rows(environ)["SEGMENTER"].source == source


def test_a_port_is_of_bind_only_where_it_names_one(folder: Path) -> None:
    assert rows({"BIND": "localhost"})["PORT"].source == "default"
    assert rows({"BIND": "localhost", "PORT": "80"})["PORT"].source == "environment"
