"""Settings: defaults, names, the tutorials' switches, clear errors, and the README's table."""

import inspect
import pickle
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from grounded_labeler.cli.label import main as label
from grounded_labeler.errors import SettingsError
from grounded_labeler.labeler import Labeler
from grounded_labeler.settings import Settings, secret_fields, variable_names


def test_defaults_need_no_environment() -> None:
    settings = Settings.from_env({})
    assert settings.detector == "groundingdino-swint-ogc"
    assert settings.segmenter == "mobile-sam"
    assert (settings.box_threshold, settings.text_threshold) == (None, None)  # the model's own
    assert (settings.port, settings.workers) == (9090, 1)


@pytest.mark.parametrize(
    ("environ", "field", "expected"),
    [
        ({"BOX_THRESHOLD": "0.4"}, "box_threshold", 0.4),
        ({"BOX_THRESHOLD": "  "}, "box_threshold", None),  # compose passes unset variables empty
        ({"LABEL_STUDIO_HOST": "http://ls"}, "label_studio_url", "http://ls"),
        (
            {"LABEL_STUDIO_HOST": "http://old", "LABEL_STUDIO_URL": "http://new"},
            "label_studio_url",
            "http://new",
        ),
        ({"LOG_LEVEL": "debug"}, "log_level", "DEBUG"),
        ({"ALLOWED_HOSTS": "nas.lan, 10.2.0.0/16,"}, "allowed_hosts", ("nas.lan", "10.2.0.0/16")),
        ({"USE_SAM": "true"}, "segmenter", "sam-vit-h"),
        ({"USE_SAM": "t"}, "segmenter", "sam-vit-h"),
        ({"WORKERS": "2", "LABEL_STUDIO_URL": "http://ls"}, "workers", 2),
        ({"USE_MOBILE_SAM": "True"}, "segmenter", "mobile-sam"),
        ({"USE_SAM": "true", "USE_MOBILE_SAM": "true"}, "segmenter", "mobile-sam"),
        ({"USE_SAM": "false", "SEGMENTER": "sam-vit-b"}, "segmenter", "sam-vit-b"),
        ({"USE_MOBILE_SAM": "true", "SEGMENTER": "mobile-sam"}, "segmenter", "mobile-sam"),
        ({"SEGMENTER": "none"}, "segmenter", "none"),
        ({"SEGMENTER": " ", "USE_SAM": ""}, "segmenter", "mobile-sam"),
        ({"USE_MOBILE_SAM": "false"}, "segmenter", "none"),
        ({"USE_MOBILE_SAM": "false", "USE_SAM": "no"}, "segmenter", "none"),
        ({"USE_MOBILE_SAM": "false", "USE_SAM": "true"}, "segmenter", "sam-vit-h"),
        ({"BIND": " [::1]:8000 "}, "bind_host", "::1"),
        ({"BIND": "[::1]:8000"}, "port", 8000),
        ({"BIND": "8000", "PORT": " 8000"}, "port", 8000),
        ({"BIND": "8000"}, "bind_host", None),
        ({"BIND": "localhost", "PORT": "8000"}, "port", 8000),
        ({"URL_PREFIX": "/labeler/"}, "url_prefix", "/labeler"),
        ({"SCRIPT_NAME": "/a/b"}, "url_prefix", "/a/b"),
        ({"URL_PREFIX": "/"}, "url_prefix", ""),
        ({"TLS_CERT": "c", "TLS_KEY": "k"}, "tls_key", Path("k")),
        ({"PATH": "/bin", "HOME": "/root"}, "output", "auto"),  # others' variables are ignored
    ],
)
def test_variables(environ: dict[str, str], field: str, expected: object) -> None:
    assert getattr(Settings.from_env(environ), field) == expected


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"BOX_THRESHOLD": "7"}, ["BOX_THRESHOLD=7", "less than or equal to 1"]),
        ({"DETECTOR": "yolo"}, ["DETECTOR=yolo", "groundingdino-swint-ogc", "demo"]),
        ({"SEGMENTER": "sam4"}, ["SEGMENTER=sam4", "mobile-sam", "none"]),
        ({"OUTPUT": "polygons"}, ["OUTPUT=polygons", "'both'"]),
        ({"PORT": "http"}, ["PORT=http must be a number from 1 to 65535"]),
        ({"PORT": "9_090"}, ["PORT=9_090 must be a number from 1 to 65535"]),
        ({"BIND": "a..b"}, ["BIND=a..b must be an address"]),
        ({"BIND": "x" * 64}, ["must be an address, a port, or both"]),
        # Which no thread could wait for, no machine could start, or no library would take.
        ({"REQUEST_DEADLINE": "inf"}, ["REQUEST_DEADLINE=inf", "less than or equal to 86400"]),
        ({"MODEL_DEADLINE": "1e24"}, ["MODEL_DEADLINE=1e24", "less than or equal to 86400"]),
        ({"WORKERS": "100000"}, ["WORKERS=100000", "less than or equal to 256"]),
        ({"THREADS": "9" * 20}, ["THREADS=9999", "less than or equal to 1024"]),
        ({"CPU_THREADS": "9" * 20}, ["CPU_THREADS=9999", "less than or equal to 1024"]),
        ({"CACHE_BYTES": "9" * 20}, ["CACHE_BYTES=9999", "less than or equal to 9007"]),
        (
            {"LABEL_STUDIO_URL": "http://l", "LABEL_STUDIO_API_KEY": "sekrit\nsekrit"},
            ["LABEL_STUDIO_API_KEY must be the token alone"],
        ),
        ({"HF_TOKEN": "sekrit é"}, ["HF_TOKEN must be the token alone"]),
        ({"BASIC_AUTH_USER": "a:b", "BASIC_AUTH_PASS": "c"}, ["BASIC_AUTH_USER", "no : in it"]),
        ({"WORKERS": "0", "THREADS": "0"}, ["WORKERS=0", "THREADS=0"]),  # both in one message
        ({"LABEL_STUDIO_API_KEY": "sekrit"}, ["LABEL_STUDIO_URL", "the token is for"]),
        ({"BASIC_AUTH_USER": "anna"}, ["BASIC_AUTH_USER and BASIC_AUTH_PASS", "both"]),
        ({"BASIC_AUTH_PASS": "sekrit"}, ["BASIC_AUTH_USER and BASIC_AUTH_PASS", "both"]),
        ({"ALLOWED_HOSTS": "nas, http://nas"}, ["ALLOWED_HOSTS", "'http://nas'"]),
        ({"PROMPT_STORE": "mysql://anna:sekrit@host/db"}, ["PROMPT_STORE must be postgresql://"]),
        (
            {"PROMPT_STORE": "redis://host/0"},
            ["PROMPT_STORE names Redis, which is no longer supported: it must be postgresql://"],
        ),
        ({"RAY_ADDRESS": "auto"}, ["RAY_ADDRESS=auto must be host:6379", "ray://host:10001"]),
        ({"RAY_ADDRESS": "http://ray:6379"}, ["RAY_ADDRESS=http://ray:6379 must be host:6379"]),
        ({"LABEL_STUDIO_URL": "localhost:8080"}, ["LABEL_STUDIO_URL=localhost", "http://"]),
        ({"MAX_IMAGE_PIXELS": "200000000"}, ["MAX_IMAGE_PIXELS=200000000", "178956970"]),
        ({"WORKERS": "2"}, ["WORKERS=2", "LABEL_STUDIO_URL"]),
        ({"BIND": "here:there"}, ["BIND=here:there must be an address, a port, or both"]),
        ({"BIND": "[::]:80", "PORT": "81"}, ["BIND=[::]:80 and PORT=81 name two ports"]),
        ({"URL_PREFIX": "labeler"}, ["URL_PREFIX=labeler must be a path like /labeler"]),
        ({"TLS_CERT": "cert.pem"}, ["TLS_CERT and TLS_KEY go together"]),
        ({"TLS_KEY": "key.pem"}, ["TLS_CERT and TLS_KEY go together"]),
        ({"REQUIRE_GPU": "true", "RAY_ADDRESS": "ray://head:10001"}, ["REQUIRE_GPU", "unset one"]),
        (
            {"USE_SAM": "true", "SEGMENTER": "mobile-sam"},
            ["USE_SAM=true", "SEGMENTER=mobile-sam", "unset one"],
        ),
    ],
)
def test_errors_name_variable_and_value(environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env(environ)
    assert all(word in str(error.value) for word in words), error.value


SEKRITS = ("sekrit", "anna")


@pytest.mark.parametrize(
    "address",
    [
        "http://anna:sekrit@ls:8080",
        "https://anna:sekrit@ls/prefix",
        "http://anna@ls",
        "http://:sekrit@ls",
        "http://anna:pa/sekrit@ls",
        "http://anna:1/sekrit@ls",  # a port and a path to a parser
        "http://anna:pa?sekrit@ls",
        "http://anna:pa#sekrit@ls",
        "http://anna:pa@sekrit@ls",
        "http:\\\\anna:sekrit@ls",
        "http:/anna:sekrit@ls",
        "anna:sekrit@ls:8080",
        "ftp://anna:sekrit@ls",
        "http://anna:sekrit\uff20ls",
        "http://anna%3Asekrit%40ls",
        "http://ls:8080/?token=sekrit",
        "http://ls:8080/#sekrit",
        " http://anna:sekrit@ls\n",
    ],
)
@pytest.mark.parametrize("name", ["LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"])
def test_a_password_in_the_address_is_refused_and_not_repeated(name: str, address: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} must ") as error:
        Settings.from_env({name: address})
    assert not any(word in str(error.value) for word in SEKRITS), error.value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAY_ADDRESS", "ray://anna:sekrit@head:10001"),
        ("RAY_ADDRESS", "anna:sekrit@head:6379"),
        ("RAY_ADDRESS", "http://anna:sekrit@head"),
        ("RAY_ADDRESS", "redis://:sekrit@head:6379/0"),
        ("ALLOWED_HOSTS", "http://anna:sekrit@nas"),
        ("ALLOWED_HOSTS", "minio, anna:sekrit@nas"),
        ("ALLOWED_HOSTS", "http://anna:sek,rit@nas"),
        ("PROMPT_STORE", "mysql://anna:sekrit@host/db"),
        ("PROMPT_STORE", "postgresql://anna:sek/rit@host/db"),
        ("PROMPT_STORE", "redis://anna:sekrit@host/0"),
        ("PORT", "http://anna:sekrit@host:9090"),
        ("DETECTOR", "http://anna:sekrit@hub/detector"),
    ],
)
def test_no_address_with_a_password_is_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        Settings.from_env({name: value})
    for word in ("anna", "sek", "rit@"):
        assert word not in str(error.value)


@pytest.mark.parametrize("address", ["ray://head:10001", "10.0.0.3:6379", "ray://[fd00::1]:10001"])
def test_addresses_of_a_cluster(address: str) -> None:
    assert Settings.from_env({"RAY_ADDRESS": address}).ray_address == address


@pytest.mark.parametrize("name", ["DETECTOR", "OUTPUT", "PORT", "LOG_FORMAT", "URL_PREFIX"])
def test_a_refusal_is_one_printable_line_that_ends(name: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({name: "a\n2026-11-27 INFO: all is well\x1b[2J\u202e" + "x" * 10_000})
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


def test_blanks_around_values_are_no_part_of_them() -> None:
    settings = Settings.from_env(
        {
            "OUTPUT": " boxes ", "MODEL_DIR": " /models ", "PORT": " 80 ",
            "BASIC_AUTH_USER": " anna ", "BASIC_AUTH_PASS": " sekrit ",
        }
    )  # fmt: skip
    assert (settings.output, settings.model_dir, settings.port) == ("boxes", Path("/models"), 80)
    assert settings.basic_auth_user == "anna"
    assert settings.basic_auth_pass is not None
    assert settings.basic_auth_pass.get_secret_value() == " sekrit "  # may be meant so


def test_blanks_around_the_address_are_no_part_of_it() -> None:
    settings = Settings.from_env({"LABEL_STUDIO_URL": " http://ls:8080/prefix \n"})
    assert settings.label_studio_url == "http://ls:8080/prefix"


ROOT = Path(__file__).parents[1]

# Secrets


def test_secrets_are_the_settings_whose_type_says_so() -> None:
    secrets = {"basic_auth_pass", "hf_token", "label_studio_api_key", "prompt_store"}
    assert set(secret_fields()) == secrets


def test_each_secret_can_be_in_a_file() -> None:
    names = variable_names()
    for field in secret_fields():
        assert names[f"{field}_file"] == tuple(f"{name}_FILE" for name in names[field])


FILES = [
    (name, file)
    for field in secret_fields()
    for name, file in zip(variable_names()[field], variable_names()[f"{field}_file"], strict=True)
]
NEEDED = {"LABEL_STUDIO_URL": "http://ls", "BASIC_AUTH_USER": "anna"}


def value_of(name: str, settings: Settings) -> str | None:
    [field] = [field for field, names in variable_names().items() if name in names]
    value: SecretStr | None = getattr(settings, field)
    return None if value is None else value.get_secret_value()


def needed(name: str) -> dict[str, str]:
    """What else must be set, and another secret where that is one."""
    other = {"BASIC_AUTH_PASS": "other"} if not name.startswith("BASIC") else {}
    return NEEDED | other


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_secret_in_a_file(tmp_path: Path, name: str, file: str, end: str) -> None:
    # Only a password may have blanks.
    secret = " s3kr it " if name == "BASIC_AUTH_PASS" else "s3krit"
    if name == "PROMPT_STORE":
        secret = "postgresql://anna:s3kr%20it@host/db"
    path = tmp_path / "secret"
    path.write_bytes(f"{secret}{end}".encode())
    settings = Settings.from_env(needed(name) | {file: f"{path} ", name: ""})
    assert value_of(name, settings) == secret
    assert "s3kr" not in repr(settings)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_secret_and_its_file_are_one_too_many(tmp_path: Path, name: str, file: str) -> None:
    path = tmp_path / "secret"
    path.write_text("sekrit")
    with pytest.raises(SettingsError) as error:
        Settings.from_env(needed(name) | {file: str(path), name: "sekrit"})
    assert str(error.value) == f"{name} and {file} are both set: unset one of them."


def test_one_name_of_the_token_and_the_file_of_the_other_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("sekrit")
    environ = {"LABEL_STUDIO_API_KEY": "x", "LABEL_STUDIO_ACCESS_TOKEN_FILE": str(path)}
    with pytest.raises(SettingsError, match="LABEL_STUDIO_API_KEY and LABEL_STUDIO_ACCESS_TOKEN_F"):
        Settings.from_env(NEEDED | environ)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (b"sekrit" * 20_000, "has more than 65536 bytes"),
    ],
)
@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_file_without_a_secret_is_one_sentence(
    tmp_path: Path, name: str, file: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        Settings.from_env(needed(name) | {file: str(path)})
    assert str(error.value).startswith(f"Cannot start: the file {file}={path} {reason}")


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_secret_where_its_file_should_be_is_not_repeated(name: str, file: str) -> None:
    with pytest.raises(SettingsError, match=f"the file {file} cannot be read") as error:
        Settings.from_env(needed(name) | {file: "postgresql://anna:sekrit@host/db"})
    assert "sekrit" not in str(error.value)


def test_an_address_of_the_store_that_is_none_is_said_to_be_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text("mysql://anna:sekrit@host/db\n")
    with pytest.raises(SettingsError, match="PROMPT_STORE in the file PROMPT_STORE_FILE m") as told:
        Settings.from_env({"PROMPT_STORE_FILE": str(path)})
    assert "sekrit" not in str(told.value)


def test_settings_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3krit")
    environ = {"LABEL_STUDIO_API_KEY_FILE": str(path), "PROMPT_STORE": "postgresql://a:s3krit@h/b"}
    settings = Settings.from_env(NEEDED | environ | {"BASIC_AUTH_PASS": "s3krit"})
    for bare in (settings.without_secrets(), settings.without_secrets("basic_auth_pass")):
        assert bare.label_studio_api_key is bare.prompt_store is None
        assert bare.label_studio_api_key_file is None
        assert bare.label_studio_url == "http://ls"
    assert b"s3krit" not in pickle.dumps(settings.without_secrets())
    assert settings.without_secrets("basic_auth_pass").basic_auth_pass == settings.basic_auth_pass


@pytest.mark.parametrize("name", variable_names()["label_studio_api_key"])
def test_the_token_is_never_shown(name: str) -> None:
    settings = Settings.from_env({name: "sekrit", "LABEL_STUDIO_URL": "http://ls"})
    assert settings.label_studio_api_key is not None
    assert settings.label_studio_api_key.get_secret_value() == "sekrit"
    assert "sekrit" not in repr(settings)


def test_the_address_of_the_store_is_never_shown() -> None:
    address = "postgresql://anna:sekrit@host/db"
    settings = Settings.from_env({"PROMPT_STORE": address})
    assert settings.prompt_store is not None
    assert settings.prompt_store.get_secret_value() == address
    assert "sekrit" not in repr(settings)
    with pytest.raises(SettingsError) as error:
        Settings.from_env({"PROMPT_STORE": f"my{address}", "PORT": "x"})
    assert "sekrit" not in str(error.value)
    assert "anna" not in str(error.value)


def test_one_default_of_the_segmenter(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the service, the command and the Python API; the image has none of its own."""
    default = Settings.from_env({}).segmenter
    assert inspect.signature(Labeler).parameters["segmenter"].default == default
    with pytest.raises(SystemExit):
        label(["--help"])
    assert f"(default: {default})" in " ".join(capsys.readouterr().out.split())
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"SEGMENTER=\S*", dockerfile)) == {"SEGMENTER=$SEGMENTER"}
    compose = "".join(file.read_text() for file in sorted(ROOT.glob("docker-compose*.yml")))
    assert re.findall(r"SEGMENTER:-([^}]*)}", compose) == [""]
    example = (ROOT / ".env.example").read_text()
    assert re.findall(r"^#?SEGMENTER=(.*)$", example, re.M) == [default]


def test_the_second_name_of_a_setting_is_in_the_list_of_them_alone() -> None:
    seconds = {name for names in variable_names().values() for name in names[1:]}
    assert "LABEL_STUDIO_HOST" in seconds
    pages = [ROOT / "README.md", ROOT / ".env.example", *(ROOT / "deploy").rglob("*.*")]
    pages += [page for page in (ROOT / "docs").glob("*.md") if page.name != "upgrading.md"]
    found = {
        (page.name, name)
        for page in pages
        for name in seconds
        if re.search(rf"\b{name}\b", page.read_text(encoding="utf-8"))
    }
    assert found == {("settings.md", name) for name in seconds}


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://localhost:9090"),
        ({"PORT": "8000", "URL_PREFIX": "/labeler"}, "http://localhost:8000/labeler"),
        ({"BIND": "0.0.0.0:81"}, "http://localhost:81"),
        ({"BIND": "[::1]:81"}, "http://[::1]:81"),
        ({"BIND": "10.0.0.5"}, "http://10.0.0.5:9090"),
        ({"TLS_CERT": "a.crt", "TLS_KEY": "a.key"}, "https://localhost:9090"),
    ],
)
def test_where_this_machine_reaches_the_service(environ: dict[str, str], url: str) -> None:
    assert Settings.from_env(environ).local_url == url
