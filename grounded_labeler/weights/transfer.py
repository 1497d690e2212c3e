"""How long a request for weights may take, whether another one may help, and what to say."""

import requests

CONNECT_SECONDS, READ_SECONDS = 10, 60
WAITS = (1.0, 3.0, 6.0)  # seconds before each further try that brought nothing new
RETRY_STATUSES = {408, 416, 429, 500, 502, 503, 504}


def may_help(error: BaseException) -> bool:
    """Return whether the same request may succeed a little later."""
    if isinstance(error, requests.HTTPError):
        return error.response.status_code in RETRY_STATUSES
    passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, passing)


def reason(error: requests.RequestException) -> str:
    """Return what completes a sentence that begins with the address."""
    if isinstance(error, requests.HTTPError):
        return f"answered with HTTP status {error.response.status_code}"
    reasons = {
        requests.exceptions.ProxyError: "cannot be reached through the proxy",
        requests.exceptions.SSLError: "has a certificate that is not trusted here",
        requests.Timeout: "did not answer in time",
        requests.exceptions.ChunkedEncodingError: "cut the connection",
        requests.ConnectionError: "cannot be reached, or cut the connection",
    }
    return next((text for kind, text in reasons.items() if isinstance(error, kind)), str(error))
