"""A service that runs, asked from this machine."""

from collections.abc import Mapping
from typing import Any

import httpx

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.label_studio_api.ml_backends import Login


class ServiceError(GroundedLabelerError):
    """The service did not answer as it should; the message says how to mend it."""


class NotReachable(ServiceError):
    """Nothing answers at the address of the service."""


class ServiceAt:
    """The service at an address; `timeout_s` is in seconds, of one request."""

    def __init__(self, url: str, login: Login | None, timeout_s: float) -> None:
        """Nothing is asked yet; a proxy of the environment is not for it."""
        self.url = url.rstrip("/")
        self._login, self._timeout = login, httpx.Timeout(timeout_s, connect=5.0)

    def check_ready(self) -> None:
        """Raise NotReachable where nothing answers, and ServiceError unless it is ready."""
        answer = self._send("GET", "/ready", None)
        if answer.status_code != httpx.codes.OK:
            reason = _error(answer) or f"it answered {answer.status_code}"
            raise ServiceError(f"The service at {self.url} is not ready: {reason}")

    def health(self) -> Mapping[str, Any]:
        """What it says of its version, models and device; raises ServiceError."""
        answer = self._send("GET", "/health", None)
        body = _json(answer)
        if not isinstance(body, dict) or "models" not in body:
            raise ServiceError(f"What answers at {self.url} is no grounded-labeler.")
        return body

    def predict(
        self, label_config: str, task: Mapping[str, Any], context: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The results for a task, as Label Studio asks for them; raises ServiceError."""
        body = {"tasks": [task], "label_config": label_config, "params": {"context": context}}
        answer = self._send("POST", "/predict", body)
        reply = _json(answer)
        if answer.status_code != httpx.codes.OK or not isinstance(reply, dict):
            raise ServiceError(
                f"The service at {self.url} refused the request: "
                f"{_error(answer) or answer.status_code}"
            )
        [prediction] = reply["results"]
        if "result" not in prediction:
            raise ServiceError(f"The service failed: {prediction.get('error')}")
        return list(prediction["result"])

    def _send(self, method: str, path: str, body: object) -> httpx.Response:
        try:
            with httpx.Client(trust_env=False, timeout=self._timeout, auth=self._login) as client:
                return client.request(method, self.url + path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            raise NotReachable(f"Nothing answers at {self.url}: {said}.") from error


def _json(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _error(answer: httpx.Response) -> str:
    body = _json(answer)
    return str(body["error"]) if isinstance(body, dict) and "error" in body else ""
