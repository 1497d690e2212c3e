"""Say whether the service on this machine is ready, for the health checks of containers.

It calls /ready and ends with 0 if the service is ready, else with 1 and a line that says why.
BIND, PORT, URL_PREFIX, TLS_CERT and GUNICORN_CMD_ARGS say where the service is.
"""

import argparse
import http.client
import os
import shlex
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grounded_labeler.listen_address import DEFAULT_PORT, Bind, parse_bind, parse_port, parse_prefix
from grounded_labeler.parsing import parser_of

_PATIENCE_S = 4.0
# What a service on all addresses of a family is asked at.
_ASKED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class _Service:
    """Where the service is asked; `under_tls` as far as the environment tells."""

    host: str
    port: int
    prefix: str
    under_tls: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    parser_of("healthcheck", __doc__ or "").parse_args(argv)
    return check_service(os.environ)


def check_service(environ: Mapping[str, str]) -> int:
    """Call /ready of the service that was started with `environ`; returns the exit code."""
    try:
        service = _service(environ)
    except ValueError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    is_ready, answer = False, ""
    for tls in (service.under_tls, not service.under_tls):
        try:
            is_ready, answer = _ask(service, tls=tls)
            break
        except (ConnectionRefusedError, TimeoutError) as error:
            answer = f"no answer on port {service.port}: {error}"
            break
        except (OSError, http.client.HTTPException) as error:
            # It speaks, but not this: then the other, for a certificate named elsewhere.
            answer = answer or f"no answer on port {service.port}: {error}"
    sys.stdout.write(f"{answer}\n")
    return 0 if is_ready else 1


def _ask(service: _Service, *, tls: bool) -> tuple[bool, str]:
    """Whether it says that it is ready, and what it says; raises OSError, HTTPException."""
    # Not urllib: it would ask a proxy that the environment names.
    connection = http.client.HTTPConnection(service.host, service.port, timeout=_PATIENCE_S)
    if tls:
        connection = http.client.HTTPSConnection(
            service.host, service.port, timeout=_PATIENCE_S, context=_any_certificate()
        )
    try:
        connection.request("GET", f"{service.prefix}/ready")
        response = connection.getresponse()
        answer = response.read().decode(errors="replace").strip()
    finally:
        connection.close()
    return response.status == http.client.OK, answer


def _any_certificate() -> ssl.SSLContext:
    """It is made for another name than the loopback interface has, and nothing is told to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _service(environ: Mapping[str, str]) -> _Service:
    """Where the service that was started with `environ` is; raises ValueError."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--certfile")
    parser.add_argument("-b", "--bind", action="append", default=[])
    parser.add_argument("-e", "--env", action="append", default=[])
    try:
        options, _ = parser.parse_known_args(shlex.split(environ.get("GUNICORN_CMD_ARGS", "")))
    except (argparse.ArgumentError, ValueError) as error:
        raise ValueError(f"GUNICORN_CMD_ARGS cannot be read: {error}") from None
    variables = dict(environ) | dict(one.split("=", 1) for one in options.env if "=" in one)

    def value(*names: str) -> str:
        return next((text for name in names if (text := variables.get(name, "").strip())), "")

    # gunicorn may listen at no address but a file, which is not for callers.
    addresses = [one for one in options.bind if not one.startswith(("unix:", "fd:"))]
    name, text = ("--bind", addresses[0]) if addresses else ("BIND", value("BIND"))
    try:
        bind = parse_bind(text) if text else Bind()
        name = "URL_PREFIX"
        prefix = parse_prefix(value("URL_PREFIX", "SCRIPT_NAME"))
        name = "PORT"
        port = bind.port or parse_port(value("PORT") or str(DEFAULT_PORT))
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    host = bind.host or "0.0.0.0"
    under_tls = options.certfile is not None or value("TLS_CERT") != ""
    return _Service(_ASKED_AT.get(host, host), port, prefix, under_tls)
