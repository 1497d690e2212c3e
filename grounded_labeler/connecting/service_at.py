"""A service that runs, asked from this machine."""

import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.label_studio_api.ml_backends import Login

QUICK_S = 10.0  # of what needs no models
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # as OpenSSL names it
_FROM_TLS = "_ssl.c"  # where Python says that what failed was TLS, and not the network


class ServiceError(GroundedLabelerError):
    """The service did not answer as it should; the message says how to mend it."""


class NotReachable(ServiceError):
    """Nothing answers at the address of the service."""


class ServiceAt:
    """The service at an address; `timeout_s` is in seconds, of one prediction.

    `is_here` says that it is this machine's own: its certificate is made for another name than the
    one it is asked by, and whoever could answer instead has this machine already.
    """

    def __init__(
        self, url: str, login: Login | None, timeout_s: float, *, is_here: bool = False
    ) -> None:
        """Nothing is asked yet; a proxy of the environment is not for it.

        Unless it `is_here`, its certificate must be one of the system's authorities, or of
        SSL_CERT_FILE's.
        """
        self.url = url.rstrip("/")
        self._verify: ssl.SSLContext | bool = not is_here and ssl.create_default_context()
        self._login, self._timeout_s = login, timeout_s
        self._quick_s = min(QUICK_S, timeout_s)

    def check_ready(self) -> None:
        """Raise NotReachable where nothing answers, and ServiceError unless it is ready."""
        answer = self._send("GET", "/ready", None, self._quick_s)
        if answer.status_code != httpx.codes.OK:
            reason = _error(answer) or f"it answered {answer.status_code}"
            raise ServiceError(f"The service at {self.url} is not ready: {reason}")

    def health(self) -> Mapping[str, Any]:
        """What it says of its version, models and device; raises ServiceError."""
        answer = self._send("GET", "/health", None, self._quick_s)
        body = _json(answer)
        if not isinstance(body, dict) or not {"models", "version"} <= body.keys():
            raise self._is_another()
        return body

    def predict(
        self, label_config: str, task: Mapping[str, Any], context: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The results for a task, as Label Studio asks for them; raises ServiceError."""
        body = {"tasks": [task], "label_config": label_config, "params": {"context": context}}
        answer = self._send("POST", "/predict", body, self._timeout_s)
        reply = _json(answer)
        if answer.status_code != httpx.codes.OK:
            raise ServiceError(
                f"The service at {self.url} refused the request: "
                f"{_error(answer) or answer.status_code}"
            )
        match reply:
            case {"results": [dict() as prediction]}:
                pass
            case _:
                raise self._is_another()
        if "result" not in prediction:
            raise ServiceError(f"The service failed: {prediction.get('error')}")
        return list(prediction["result"])

    def _send(self, method: str, path: str, body: object, seconds: float) -> httpx.Response:
        timeout = httpx.Timeout(seconds, connect=5.0)
        try:
            with httpx.Client(
                trust_env=False, timeout=timeout, auth=self._login, verify=self._verify
            ) as client:
                return client.request(method, self.url + path, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
            raise _why_not(self.url, error) from error
        except httpx.TimeoutException as error:
            raise ServiceError(
                f"What listens at {self.url} does not answer within {seconds:g} seconds: look at "
                "its log, and whether it is the service."
            ) from error
        except httpx.HTTPError as error:
            raise self._is_another() from error

    def _is_another(self) -> ServiceError:
        return ServiceError(
            f"What answers at {self.url} is no grounded-labeler: choose another BIND or PORT."
        )


def _why_not(url: str, error: Exception) -> ServiceError:
    said = str(error) or type(error).__name__
    if UNTRUSTED in said:
        return NotReachable(
            f"This machine does not trust the certificate of {url}: set SSL_CERT_FILE to it."
        )
    if _FROM_TLS in said and not isinstance(error, httpx.ConnectTimeout):
        return ServiceError(
            f"What listens at {url} does not answer with TLS: write http://, or set TLS_CERT and "
            f"TLS_KEY of the service ({said})."
        )
    return NotReachable(f"Nothing answers this machine at {url}: {said}.")


def _json(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _error(answer: httpx.Response) -> str:
    body = _json(answer)
    return str(body["error"]) if isinstance(body, dict) and "error" in body else ""
