"""Where settings come from: the environment, a file `.env`, files of secrets, defaults."""

import difflib
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from grounded_labeler.env_file import read_env_file
from grounded_labeler.errors import SettingsError
from grounded_labeler.listen_address import parse_bind
from grounded_labeler.settings import SEGMENTER_SWITCHES, Settings, secret_fields, variable_names

ENV_FILE = "ENV_FILE"
DEFAULT_ENV_FILE = Path(".env")  # of the working folder
# Of others, which read them themselves; docker-compose.yml hands them on as it does the settings.
OF_OTHERS = (
    "GUNICORN_CMD_ARGS", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN",
    "SSL_CERT_FILE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_PROPAGATORS", "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
)  # fmt: skip
_MASK = "********"
_LEAST_WORD = 4  # letters
_LEAST_NAME = 6
_ALIKE = 0.8


@dataclass(frozen=True)
class Effective:
    """A setting as it counts: `value` is one that JSON has, masked where it is a secret.

    `source` says where it is from, and is "default" where nobody set it.
    """

    name: str
    value: JsonValue
    source: str


def load_env_file(environ: MutableMapping[str, str]) -> None:
    """Put into `environ` what the file ENV_FILE, `.env` if empty, sets and `environ` does not.

    Raises SettingsError when the file cannot be read.
    """
    _, values = read_settings_file(environ)
    environ.update(values)


def read_settings_file(environ: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """Return the file ENV_FILE, and the settings in it that `environ` has not.

    Variables of other programs are left out, as compose hands none of them on. Names that are
    close to a setting's are kept: somebody is to be told of them. Raises SettingsError.
    """
    named = environ.get(ENV_FILE, "").strip()
    path = Path(named) if named else DEFAULT_ENV_FILE
    if not named and not path.is_file():  # some make a folder of that name, of packages
        return path, {}
    try:
        values = read_env_file(path, environ)
    except ValueError as error:
        raise SettingsError(
            f"Cannot start: the file {path} {error}. Mend it, or set {ENV_FILE} to another file."
        ) from None
    ours = {*_all_names(), *OF_OTHERS, *(wrong for wrong, _ in misspelt(values))}
    return path, {name: values[name] for name in ours & values.keys() - environ.keys()}


def misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names that look like a setting's and are none, each with the one most alike."""
    ours = _all_names()
    by_words: dict[int, list[str]] = {}
    for name in ours:
        by_words.setdefault(name.count("_"), []).append(name)
    found = []
    for name in sorted({*names} - {*ours, *OF_OTHERS, ENV_FILE}):
        upper = name.upper()
        joined = [one for one in ours if one.replace("_", "") == upper.replace("_", "")]
        close = joined or [
            one for one in by_words.get(name.count("_"), []) if _is_close(upper, one)
        ]
        if close:
            # Of several, the one most alike.
            found.append((name, difflib.get_close_matches(upper, close, n=1, cutoff=0)[0]))
    return found


def _is_close(name: str, ours: str) -> bool:
    """Whether `name` is `ours` with slips in it; both have as many words.

    Word by word: LABEL_STUDIO_PORT, which Kubernetes sets, is as like LABEL_STUDIO_HOST as two
    names can be, yet no slip.
    """
    pairs = list(zip(name.split("_"), ours.split("_"), strict=True))
    if len(pairs) == 1:
        return len(name) >= _LEAST_NAME and _ratio(name, ours) >= _ALIKE
    return all(one == other or _is_slip(one, other) for one, other in pairs)


def _is_slip(one: str, other: str) -> bool:
    if min(len(one), len(other)) < _LEAST_WORD:
        return False
    return one.startswith(other) or other.startswith(one) or _ratio(one, other) >= _ALIKE


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def warnings_of(names: Iterable[str]) -> list[str]:
    """Return a sentence for each of the names that look like a setting's and are none."""
    return [f"{wrong} is no setting: did you mean {meant}?" for wrong, meant in misspelt(names)]


def effective_settings(environ: Mapping[str, str]) -> list[Effective]:
    """Return each setting with where it is from; reads the file ENV_FILE, too.

    Raises SettingsError as `Settings.from_env` does.
    """
    path, from_file = read_settings_file(environ)
    merged = {**environ, **from_file}
    settings = Settings.from_env(merged)
    values, secrets = settings.model_dump(mode="json"), secret_fields()
    rows = []
    for field, variables in variable_names().items():
        value, source = values[field], "default"
        candidates = (*variables, *_deciding(field, settings))
        if used := next((name for name in candidates if merged.get(name, "").strip()), None):
            source = str(path) if used in from_file else "environment"
            source += "" if used == variables[0] else f", {used}"
        elif field in secrets and value is not None:
            source = f"file {getattr(settings, f'{field}_file')}"
        masked = field in secrets and value is not None
        rows.append(Effective(variables[0], _MASK if masked else value, source))
    return rows


def _deciding(field: str, settings: Settings) -> tuple[str, ...]:
    """Return the variables of other settings that decide of `field` where its own is not set."""
    if field == "segmenter":  # the switch that is on, else one that is off
        return tuple(
            sorted(SEGMENTER_SWITCHES, key=lambda name: not getattr(settings, name.lower()))
        )
    if field == "port" and settings.bind is not None and parse_bind(settings.bind).port is not None:
        return ("BIND",)
    return ()


def _all_names() -> list[str]:
    return [name for names in variable_names().values() for name in names]
