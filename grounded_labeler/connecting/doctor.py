"""Every check of `grounded-labeler doctor`, one after another, and how what they find is shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from grounded_labeler.connecting import label_studio, machine, model_files
from grounded_labeler.connecting.findings import Check, Finding, Status, fail, ok
from grounded_labeler.connecting.service_at import QUICK_S, ServiceAt
from grounded_labeler.errors import SettingsError, WeightsError
from grounded_labeler.label_studio_api.ml_backends import Login
from grounded_labeler.server.startup import check_start
from grounded_labeler.settings import Settings, secret_fields

_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
_PREDICTION_SECONDS = 180.0  # SAM 3 on a CPU takes a minute, and as long to load
_SLACK = 20.0  # for what stands around a step that has a limit of its own


def examine(environ: Mapping[str, str], project: int | None) -> Iterator[Finding]:
    """Yield what each check finds, as it is found; no secret of the settings is in it."""
    yield from Check("versions", 10, machine.versions).run()
    yield from Check("devices", 60, machine.devices).run()
    try:
        settings = Settings.from_env(environ)
    except SettingsError as error:
        yield fail("settings", str(error), "docs/settings.md lists them.")
        return
    login = None
    if settings.basic_auth_user is not None and settings.basic_auth_pass is not None:
        login = Login(settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
    here = ServiceAt(settings.local_url, login, _PREDICTION_SECONDS, is_here=True)
    checks = [
        Check("start", 60, lambda: _start(settings)),
        Check("memory", 10, lambda: machine.memory(settings)),
        Check("weights", 120, lambda: model_files.weights(settings)),
        Check("graphs", 120, lambda: model_files.graphs(settings)),
        Check("service", QUICK_S + _SLACK, lambda: model_files.service(here)),
        Check("label studio", 60, lambda: label_studio.label_studio(settings)),
    ]
    if project is not None:
        look = partial(label_studio.project, settings, project)
        checks.append(Check("project", 180, look))
    predict = partial(model_files.prediction, settings, here, environ, _PREDICTION_SECONDS)
    checks.append(Check("prediction", _PREDICTION_SECONDS + _SLACK, predict))
    hide = partial(_without, _secrets(settings))
    for check in checks:
        for one in check.run():
            yield replace(one, text=hide(one.text), remedy=hide(one.remedy))


def _start(settings: Settings) -> list[Finding]:
    """Find what the service refuses to start with, weights aside, which have their own check."""
    try:
        check_start(settings)
    except WeightsError:
        return []
    return [ok("start", "folders, precision, address and certificate can be used")]


def _secrets(settings: Settings) -> list[str]:
    """What must not be shown, the longest first; what files hold is in the settings, too."""
    values = [getattr(settings, name) for name in secret_fields()]
    texts = [value.get_secret_value() for value in values if value is not None]
    passwords = [urlsplit(text).password for text in [*texts, settings.label_studio_url or ""]]
    return sorted(filter(None, [*texts, *passwords]), key=len, reverse=True)


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def show(finding: Finding, console: Console) -> None:
    """Print a finding as one line."""
    line = Text(f"{finding.status:4}  ", style=_STYLES[finding.status])
    line.append(Text(f"{finding.check}: {_one_line(finding)}", style="default"))
    console.print(line, soft_wrap=True)


def _one_line(finding: Finding) -> str:
    return " ".join(f"{finding.text.rstrip('.')}. {finding.remedy}".split())
