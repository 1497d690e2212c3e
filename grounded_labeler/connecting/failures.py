"""The usual failures between Label Studio and the service: what is wrong, and what mends it."""

import re
from urllib.parse import urlsplit

from grounded_labeler._text import shorten
from grounded_labeler.connecting.service_at import UNTRUSTED
from grounded_labeler.images.label_studio_auth import NEW_TOKEN
from grounded_labeler.label_studio_api.client import LabelStudioError

_LOCAL = ("localhost", "127.0.0.1", "::1")
_MOST = 300  # characters of what Label Studio said
# What Label Studio says where it has not got something; others, and its own page, say other things.
_NO_OBJECT = re.compile(r"No \w+ matches the given query|^Not found\.")
_TAGS = re.compile(r"<[^>]*>")


def token_problem(error: LabelStudioError) -> str | None:
    """Say what is wrong with the token, None where something else is."""
    if error.answered != 401:
        return None
    said = error.said.lower()
    if "legacy token" in said:
        return (
            "LABEL_STUDIO_API_KEY is a legacy token, and this Label Studio has those switched off: "
            f"{NEW_TOKEN}."
        )
    if "wrong type" in said:
        return (
            "LABEL_STUDIO_API_KEY is an access token, which is good for minutes, and not the "
            f"personal access token that it was given for: {NEW_TOKEN}."
        )
    if "expired" in said or "blacklisted" in said or "expiration" in said:
        return f"The personal access token is expired or revoked: {NEW_TOKEN}."
    return (
        f"Label Studio does not know the token: {NEW_TOKEN}, or to a legacy token as it stands "
        "there, where the organization allows these."
    )


def project_problem(error: LabelStudioError, project: int, url: str) -> str | None:
    """Say why a project cannot be read or changed, None where something else is wrong."""
    if error.answered == 404 and not _NO_OBJECT.search(error.said):
        return (
            f"What answers at {url} is no Label Studio, or has it under another path: check "
            "LABEL_STUDIO_URL."
        )
    if error.answered == 404:
        return (
            f"There is no project {project} in Label Studio at {url}, or not for the user of "
            "LABEL_STUDIO_API_KEY: its number stands in the address of its page."
        )
    if error.answered == 403:
        return (
            f"The user of LABEL_STUDIO_API_KEY may not do this in project {project}: take the "
            "token of somebody who may change its settings."
        )
    return token_problem(error)


def config_problem(error: LabelStudioError, project: int) -> str | None:
    """Say why Label Studio refuses a label config, None where something else is wrong."""
    if error.answered != 400:
        return None
    words = " ".join(error.said.split()).removeprefix("Validation error ")
    said = f"{shorten(words, _MOST).rstrip('.')}."
    if "annotation" in error.said or "draft" in error.said:
        return (
            f"Project {project} has annotations that the new label config would break, so Label "
            f"Studio refuses it: {said} Add what they use to the label config, or delete them."
        )
    return f"Label Studio refuses the new label config: {said} Mend it under Labeling Interface."


def backend_problem(error: LabelStudioError, service: str) -> str | None:
    """Say why Label Studio cannot use the service at `service`, None where it is not known."""
    said = " ".join(_TAGS.sub("", error.said).split())
    place = urlsplit(service).hostname or ""
    if error.answered == 403 and ("reserved network" in said or "URLs must use" in said):
        return (
            f"Label Studio refuses {service}, as it is a private address: start Label Studio with "
            "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false, then run this again."
        )
    if "resolve hostname" in said:
        return (
            f"Label Studio cannot resolve {place}: give --url an address that the machine, or the "
            "container, of Label Studio knows."
        )
    if "authentication parameters" in said or "401 Client Error" in said:
        return (
            f"The service at {service} wants a user name and a password: set BASIC_AUTH_USER and "
            "BASIC_AUTH_PASS as for the service."
        )
    if "health check failed" in said:
        return _unreached(said, service, place)
    if "valid ML backend" not in said:
        return None
    return (
        f"The service at {service} refuses the project, or is another one: "
        f"{shorten(said.partition('Reason:')[2].strip() or said, _MOST)}"
    )


def _unreached(said: str, service: str, place: str) -> str:
    if UNTRUSTED in said:
        return (
            f"Label Studio does not trust the certificate of {service}: start Label Studio with "
            "REQUESTS_CA_BUNDLE set to a file with its authority in it, beside those that it "
            "needs else, or give --url an address with a certificate that it trusts."
        )
    if place in _LOCAL:
        return (
            f"Label Studio finds no service at {service}: in a container {place} is the container "
            "itself, so give --url http://host.docker.internal:9090 or the service's name there; "
            "else start the service."
        )
    reason = said.partition("Additional info:")[2].strip() or said
    return (
        f"Label Studio cannot reach the service at {service}: start it, or give --url an address "
        f"that Label Studio reaches ({shorten(reason, _MOST)})."
    )
