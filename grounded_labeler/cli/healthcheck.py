"""Say whether the service on this machine is ready, for the health checks of containers.

It calls /ready and ends with 0 if the service is ready, else with 1 and a line that says why.
PORT, SCRIPT_NAME and GUNICORN_CMD_ARGS say where the service is.
"""

import argparse
import http.client
import os
import shlex
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grounded_labeler.parsing import parser_of

_PATIENCE_S = 4.0
_ANY_ADDRESS = ("", "0.0.0.0", "[::]")


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
    except (argparse.ArgumentError, ValueError) as error:
        sys.stdout.write(f"GUNICORN_CMD_ARGS cannot be read: {error}\n")
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
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--certfile")
    parser.add_argument("-b", "--bind", action="append", default=[])
    parser.add_argument("-e", "--env", action="append", default=[])
    options, _ = parser.parse_known_args(shlex.split(environ.get("GUNICORN_CMD_ARGS", "")))
    variables = dict(environ) | dict(one.split("=", 1) for one in options.env if "=" in one)
    host, _, port = (options.bind or [""])[0].rpartition(":")
    if not port.isdecimal():
        host, port = "", variables.get("PORT", "").strip() or "9090"
    return _Service(
        "127.0.0.1" if host in _ANY_ADDRESS else host.strip("[]"),
        int(port),
        variables.get("SCRIPT_NAME", "").rstrip("/"),
        options.certfile is not None,
    )
