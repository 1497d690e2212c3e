"""Whether the service of this machine is ready: `python -m grounded_labeler.probe`, for containers.

Asks /ready and ends with 0 if it is, else with 1 and a line that says why.
"""

import http.client
import os
import sys

_PATIENCE_S = 4.0


def main(port: int) -> int:
    """Ask the service on `port` of the loopback interface; returns the exit code."""
    # Not urllib: it would ask a proxy that the environment names.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        answer = response.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        answer, is_ready = f"no answer on port {port}: {error}", False
    else:
        is_ready = response.status == http.client.OK
    finally:
        connection.close()
    sys.stdout.write(f"{answer}\n")
    return 0 if is_ready else 1


if __name__ == "__main__":
    sys.exit(main(int(os.environ.get("PORT") or "9090")))
