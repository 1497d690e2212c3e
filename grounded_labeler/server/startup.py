"""What is looked at before the port opens: each thing that is wrong is one sentence."""

import os
import socket
import ssl
import tempfile
from pathlib import Path

from grounded_labeler.errors import SettingsError
from grounded_labeler.inference.loader import check_compute, check_models
from grounded_labeler.service import prompt_store, prompts_file
from grounded_labeler.settings import Settings
from grounded_labeler.tracing import check_tracing


def check_start(settings: Settings) -> None:
    """Raise SettingsError or WeightsError where the service cannot do what it is to do.

    Opens no connection, and reads of no model more than which files there are.
    """
    check_folders(settings)
    check_host(settings)
    check_certificate(settings)
    check_tracing(os.environ)
    prompt_store(settings)
    check_compute(settings)
    check_models(settings)


def check_folders(settings: Settings) -> None:
    """Raise SettingsError unless the folders of the settings can be read, or written to."""
    _check_readable("MODEL_DIR", settings.model_dir, "the folder of the weights", may_lack=True)
    if settings.local_files_root is not None:
        _check_readable("LOCAL_FILES_ROOT", settings.local_files_root, "a folder of images")
    if settings.prompt_store is None:
        variable = "MODEL_DIR" if settings.data_dir is None else "DATA_DIR"
        _check_writable(variable, prompts_file(settings).parent)


def check_host(settings: Settings) -> None:
    """Raise SettingsError unless BIND names an address that this machine has.

    Not whether its port is free: gunicorn tries that again for some seconds, and at a reload it is
    the service's own.
    """
    if settings.bind_host is None:
        return
    try:
        [(family, kind, _, _, place), *_] = socket.getaddrinfo(
            settings.bind_host, 0, type=socket.SOCK_STREAM
        )
        with socket.socket(family, kind) as probe:
            probe.bind(place)
    except OSError as error:
        raise SettingsError(
            f"BIND={settings.bind} cannot be listened on ({error.strerror}): set it to an address "
            "of this machine, or to none for all."
        ) from None


def _check_readable(variable: str, folder: Path, meant: str, *, may_lack: bool = False) -> None:
    """Raise SettingsError unless `folder` is one whose files this user may read.

    Where it `may_lack`, others say what is not in it.
    """
    try:
        if may_lack and not os.path.lexists(folder):
            return
        if not folder.is_dir():
            is_there = "is no folder" if os.path.lexists(folder) else "does not exist"
            raise SettingsError(f"{variable}={folder} {is_there}: set it to {meant}.")
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError as error:
        raise SettingsError(
            f"{variable}={folder} cannot be read ({error.strerror}): let user {os.getuid()} read "
            "it and what is in it."
        ) from None


def _check_writable(variable: str, folder: Path) -> None:
    """Raise SettingsError unless this user may write into `folder`, or make it."""
    above = (folder.absolute(), *folder.absolute().parents)
    try:
        there = next(part for part in above if part.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise SettingsError(
            f"The prompts cannot be stored in {variable}={folder} ({error.strerror}): set DATA_DIR "
            f"to a folder that user {os.getuid()} may write to, or PROMPT_STORE."
        ) from None


def check_certificate(settings: Settings) -> None:
    """Raise SettingsError unless TLS_CERT and TLS_KEY, where they are set, go together."""
    if settings.tls_cert is None or settings.tls_key is None:
        return
    for variable, path in (("TLS_CERT", settings.tls_cert), ("TLS_KEY", settings.tls_key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise SettingsError(
                f"The file {variable}={path} cannot be read ({error.strerror}): name a file (PEM) "
                f"that user {os.getuid()} may read."
            ) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # With a password, or OpenSSL would wait for somebody to type one.
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except ssl.SSLError as error:
        reason = f" ({error.reason.replace('_', ' ').lower()})" if error.reason else ""
        raise SettingsError(
            f"TLS_CERT={settings.tls_cert} and TLS_KEY={settings.tls_key} cannot be used{reason}: "
            "they must be a certificate, before those it depends on, and its private key, both "
            "PEM, the key without a password."
        ) from None
