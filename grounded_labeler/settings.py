"""The service's settings: every environment variable it reads, with its default."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from grounded_labeler._text import shorten
from grounded_labeler.errors import SettingsError
from grounded_labeler.listen_address import DEFAULT_PORT, parse_bind
from grounded_labeler.secret_files import read_secret
from grounded_labeler.settings_types import (
    Address,
    BindAddress,
    Bytes,
    Cluster,
    Count,
    DetectorName,
    Fraction,
    Hosts,
    LogFormat,
    LogLevel,
    Names,
    Output,
    Pairs,
    Pixels,
    Port,
    Preannotate,
    PrecisionChoice,
    Processes,
    Seconds,
    SegmenterName,
    ShortSide,
    StartTraining,
    Store,
    Threads,
    Tiles,
    Token,
    UrlPrefix,
)  # fmt: skip
from grounded_labeler.weights.catalog import DEFAULT_SEGMENTER, HUB, NO_SEGMENTER
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.offer import OfferedModels, offered_models

# The tutorials' switches and what they stand for; the first one wins, as there.
SEGMENTER_SWITCHES = {"USE_MOBILE_SAM": "mobile-sam", "USE_SAM": "sam-vit-h"}
_BOOL = TypeAdapter(bool)
_MAX_SHOWN = 200  # characters of a value

# What a URL with a password, a signature or an escape has: such a value is not repeated.
_MAY_HOLD_A_SECRET = re.compile(r"[@\uff20?#%\\]")


def _is_true(value: object) -> bool:
    """What the field itself will read; what it will refuse is no switch either."""
    try:
        return _BOOL.validate_python(value)
    except ValidationError:
        return False


class Settings(BaseModel):
    """All settings, read once at start-up and handed in where they are needed.

    A field is read from the variable of its name in capitals.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=AliasGenerator(validation_alias=str.upper),
    )

    detector: DetectorName = Field(
        "groundingdino-swint-ogc",
        description="the model that finds boxes: a name, the path of your own, or "
        "`hub:owner/name@revision`",
    )
    segmenter: SegmenterName = Field(
        DEFAULT_SEGMENTER, description="the model that turns boxes into masks: likewise, or `none`"
    )
    detector_config: str | None = Field(
        None,
        description="what a `DETECTOR` that is a single checkpoint is of: "
        "`GroundingDINO_SwinT_OGC`, `GroundingDINO_SwinB_cfg`, or its config file",
    )
    models: Pairs = Field(
        (),
        description="models that projects choose from in their label config: "
        "`llmdet-tiny+mobile-sam, groundingdino-swint-ogc`, a detector and perhaps a segmenter "
        "each; the default is `DETECTOR` with `SEGMENTER` if it is among them, else the first",
    )
    models_bytes: Count | None = Field(
        None,
        description="size of the weights of `MODELS` that stay loaded in each process, in bytes "
        "of their files, no limit if empty; beyond it those that were used least recently are "
        "unloaded, never the default",
    )
    use_sam: bool | None = Field(
        None,
        description="`true` is short for `SEGMENTER=sam-vit-h`, `false` for `SEGMENTER=none` where "
        "nothing else names one",
    )
    use_mobile_sam: bool | None = Field(
        None, description="likewise for `SEGMENTER=mobile-sam`; wins over `USE_SAM`"
    )
    model_dir: Path = Field(Path("models"), description="folder of the weights")
    data_dir: Path | None = Field(
        None,
        description="folder of the stored prompts, `MODEL_DIR` if empty; graphs compiled for this "
        "CPU are kept there, too, where `MODEL_DIR` cannot be written to",
    )
    prompt_store: Store | None = Field(
        None,
        description="where the service stores prompts instead, for several copies of the service: "
        "`postgresql://user:password@host/database` or `sqlite:///path/to/file`",
    )
    prompt_store_file: Path | None = Field(
        None, description="file with the address of `PROMPT_STORE` in it instead"
    )
    hf_token: Token | None = Field(
        None, description="token of the Hugging Face hub, for models that want to know who asks"
    )
    hf_token_file: Path | None = Field(None, description="file with that token in it instead")
    hf_endpoint: Address = Field(
        HUB.rstrip("/"), description="address of the Hugging Face hub, or of a mirror of it"
    )
    accept_licences: Names = Field(
        (), description="models whose terms you accept, such as `sam3`: `weights` names the terms"
    )
    verify: bool = Field(
        True,
        description="`off`: `grounded-labeler weights` does not compare the models with published "
        "results, for which it fetches an image",
    )
    box_threshold: Fraction | None = Field(
        None,
        description="minimum score of a phrase's best token in a box, the model's own if empty",
    )
    text_threshold: Fraction | None = Field(
        None,
        description="minimum mean score of all of a phrase's tokens in a box, the model's own if "
        "empty",
    )
    nms_threshold: Fraction = Field(
        0.70, description="boxes that overlap more than this are one object"
    )
    max_regions: Count = Field(300, description="maximum regions per image, best first")
    output: Output = Field(
        "auto", description="`auto`, `boxes`, `masks` or `both`: the form each object gets"
    )
    tiles: Tiles = Field(
        "off",
        description="`auto`: the detector also looks at overlapping tiles of an image whose longer "
        "side is more than twice what it sees, 25 at most; a number of pixels: at tiles of that "
        "side; finds small things, and takes as many times as long",
    )
    provenance: bool = Field(
        False,
        description="`true`: each region's Info panel says which phrase found it, why it has its "
        "label, and the model version",
    )
    stretch: bool = Field(
        False,
        description="`true`: images of more than 8 bits a pixel are stretched from their darkest "
        "to their brightest pixel, for 12-bit data in 16-bit files",
    )
    preannotate: Preannotate = Field(
        "auto",
        description="`auto`, `last_prompt`, `labels` or `off`: what the service "
        "looks for when nobody typed",
    )
    start_training: StartTraining = Field(
        "propose",
        description="what Start Training in Label Studio does with a better label config: "
        "`propose` it at `/tune/<project>`, `apply` it to the project, or `off` for nothing",
    )
    label_studio_url: Address | None = Field(
        None,
        validation_alias=AliasChoices("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
        description="where this service reaches Label Studio; else what Label Studio says itself",
    )
    label_studio_api_key: Token | None = Field(
        None,
        validation_alias=AliasChoices("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN"),
        description="personal access token or legacy token, to fetch images from Label Studio",
    )
    label_studio_api_key_file: Path | None = Field(
        None,
        validation_alias=AliasChoices(
            "LABEL_STUDIO_API_KEY_FILE", "LABEL_STUDIO_ACCESS_TOKEN_FILE"
        ),
        description="file with that token in it instead",
    )
    allowed_hosts: Hosts = Field(
        (), description="private hosts and networks images may come from: `nas.lan, 10.2.0.0/16`"
    )
    local_files_root: Path | None = Field(
        None, description="folder `/data/local-files/` images are read from; else over HTTP"
    )
    detect_size: ShortSide | None = Field(
        None,
        description="pixels of an image's shorter side in the detector, the model's own (800) if "
        "empty; less is faster and finds less",
    )
    precision: PrecisionChoice = Field(
        "auto",
        description="`fp32`, `mixed` (bf16 in some layers, CPUs with bf16 only), `bf16` or `fp16` "
        "(GPUs only); `auto` is fp32 on a CPU, fp16 on a GPU",
    )
    require_gpu: bool = Field(
        False, description="`true`: the service does not start where PyTorch finds no GPU"
    )
    ray_address: Cluster | None = Field(
        None,
        description="address of the Ray cluster that runs the models (`host:6379` on a node of it, "
        "`ray://host:10001` elsewhere); this process then loads none",
    )
    cpu_threads: Threads | None = Field(
        None, description="threads the models compute with; all usable cores over `WORKERS`"
    )
    cache_bytes: Bytes = Field(
        268_435_456,
        description="size of the per-image feature cache in bytes; makes a second prompt, "
        "threshold or click on the same image fast; 0 disables it",
    )
    max_image_bytes: Count = Field(100_000_000, description="larger image files are not downloaded")
    max_image_pixels: Pixels = Field(
        100_000_000, description="larger images are refused before they are decoded"
    )
    log_level: LogLevel = Field("INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`")
    basic_auth_user: str | None = Field(
        None, description="user name that callers must give; `/health` and `/ready` stay open"
    )
    basic_auth_pass: SecretStr | None = Field(None, description="password of that user")
    basic_auth_pass_file: Path | None = Field(
        None, description="file with that password in it instead"
    )
    log_format: LogFormat = Field("text", description="`text`, or `json`: one object per line")
    log_prompts: bool = Field(
        False,
        description="`true`: log and traces have the prompts that people type; else they leave "
        "them out",
    )
    bind: BindAddress | None = Field(
        None,
        description="address to serve on, all of this machine's if empty: `127.0.0.1`, `[::]`; "
        "also with a port, or a port alone: `127.0.0.1:8000`",
    )
    port: Port = Field(DEFAULT_PORT, description="port to serve on, unless `BIND` names one")
    url_prefix: UrlPrefix = Field(
        "",
        validation_alias=AliasChoices("URL_PREFIX", "SCRIPT_NAME"),
        description="path that a proxy serves this service under, as `/labeler`, whether or not "
        "the proxy removes it from the paths that it passes on",
    )
    tls_cert: Path | None = Field(
        None,
        description="file of a certificate (PEM), with those it depends on after it: the port then "
        "speaks HTTPS",
    )
    tls_key: Path | None = Field(None, description="file of its private key (PEM)")
    workers: Processes = Field(
        1,
        description="server processes; each holds its own copy of the models; "
        "more than one need `LABEL_STUDIO_URL`",
    )
    threads: Threads = Field(
        16,
        description="maximum concurrent prediction requests per process, a quarter of them for "
        "typed prompts alone; further ones get 503 with `Retry-After`",
    )
    request_deadline: Seconds = Field(
        90.0,
        description="seconds after which a request for many tasks returns what there is; Label "
        "Studio gives up after 100",
    )
    model_deadline: Seconds = Field(
        300.0,
        description="a batch running longer than this many seconds counts as stuck; `/health` then "
        "returns 503",
    )
    max_body_bytes: Count = Field(67_108_864, description="larger requests are refused")
    max_tasks: Count = Field(100_000, description="requests for more tasks are refused")

    @model_validator(mode="before")
    @classmethod
    def _apply_segmenter_switches(cls, values: dict[str, Any]) -> dict[str, Any]:
        for variable, name in SEGMENTER_SWITCHES.items():
            if _is_true(values.get(variable)):
                chosen = values.get("SEGMENTER", name)
                if chosen != name:
                    raise SettingsError(
                        f"{variable}=true means SEGMENTER={name}, but SEGMENTER={chosen}:"
                        " unset one of them."
                    )
                return {**values, "SEGMENTER": name}
        if "SEGMENTER" not in values and not values.keys().isdisjoint(SEGMENTER_SWITCHES):
            return {**values, "SEGMENTER": NO_SEGMENTER}
        return values

    @model_validator(mode="before")
    @classmethod
    def _take_the_port_of_bind(cls, values: dict[str, Any]) -> dict[str, Any]:
        try:
            port = parse_bind(values.get("BIND", "")).port
        except ValueError:  # which the field itself says
            return values
        if port is None:
            return values
        if str(values.get("PORT", port)).strip() != str(port):
            raise SettingsError(
                f"BIND={values['BIND']} and PORT={values['PORT']} name two ports: unset PORT."
            )
        return {**values, "PORT": str(port)}

    @model_validator(mode="after")
    def _check_token_has_an_address(self) -> Self:
        # Anyone may call /setup and name a host: the token must not follow.
        if self.label_studio_api_key and not self.label_studio_url:
            raise SettingsError(
                "LABEL_STUDIO_API_KEY is set without LABEL_STUDIO_URL: set the address of the"
                " Label Studio that the token is for."
            )
        return self

    @model_validator(mode="after")
    def _check_workers_know_the_address(self) -> Self:
        # /setup, which says where Label Studio is, reaches one of the workers only.
        if self.workers > 1 and not self.label_studio_url:
            raise SettingsError(
                f"WORKERS={self.workers} needs LABEL_STUDIO_URL: set it to the address of your"
                " Label Studio."
            )
        return self

    @model_validator(mode="after")
    def _check_user_has_a_password(self) -> Self:
        if (self.basic_auth_user is None) != (self.basic_auth_pass is None):
            raise SettingsError(
                "BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both, or neither."
            )
        if self.basic_auth_user is not None and ":" in self.basic_auth_user:
            # To HTTP the password begins there, so nobody could log in.
            raise SettingsError("BASIC_AUTH_USER must have no : in it: choose another name.")
        return self

    @model_validator(mode="after")
    def _check_certificate_has_a_key(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("TLS_CERT and TLS_KEY go together: set both for HTTPS, or neither.")
        return self

    @model_validator(mode="after")
    def _check_the_gpu_is_of_this_process(self) -> Self:
        if self.require_gpu and self.ray_address:
            raise SettingsError(
                "REQUIRE_GPU=true is for models in this process, but with RAY_ADDRESS a cluster"
                " has them: unset one of them."
            )
        return self

    @property
    def bind_host(self) -> str | None:
        """The address to serve on, without brackets; None for all of this machine's."""
        return None if self.bind is None else parse_bind(self.bind).host

    @property
    def local_url(self) -> str:
        """Where this machine reaches the service, without a slash at the end."""
        host = self.bind_host
        if host in {None, "0.0.0.0", "::"}:  # all of this machine's
            host = "localhost"
        elif ":" in str(host):
            host = f"[{host}]"
        scheme = "http" if self.tls_cert is None else "https"
        return f"{scheme}://{host}:{self.port}{self.url_prefix}"

    @property
    def offered(self) -> OfferedModels:
        """The models that projects choose from."""
        default = ModelChoice(self.detector, self.segmenter, self.detector_config)
        return offered_models(default, self.models)

    @property
    def choice(self) -> ModelChoice:
        """The models of projects that choose none."""
        return self.offered.default

    def with_choice(self, choice: ModelChoice) -> Self:
        """The same settings with `choice` as the only models."""
        return self.model_copy(
            update={"detector": choice.detector, "segmenter": choice.segmenter, "models": ()}
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from `environ`; an empty variable counts as not set.

        Of a secret the variable may be the file that holds it, as LABEL_STUDIO_API_KEY_FILE.
        Raises SettingsError that names every bad variable and its value, except a secret.
        """
        given = {}
        for field, names in variable_names().items():
            present = [name for name in names if environ.get(name, "").strip()]
            for name in present[:1]:
                is_secret = field in secret_fields()  # a password may begin with a blank
                given[name] = environ[name] if is_secret else environ[name].strip()
        read_from = _read_files(given)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = [
                _problem(read_from, item["loc"], item["input"], item["msg"])
                for item in error.errors()
            ]
            raise SettingsError(f"Cannot start: {'; '.join(problems)}.") from None

    def without_secrets(self, *kept: str) -> Self:
        """The same settings without the secrets, except the fields `kept`: for other machines.

        Nor do they name the files of secrets, which lie on this machine.
        """
        gone = [name for name in secret_fields() if name not in kept]
        return self.model_copy(
            update=dict.fromkeys([*gone, *(f"{name}_file" for name in secret_fields())])
        )


def variable_names() -> dict[str, tuple[str, ...]]:
    """The environment variables of each setting, the one that wins first."""
    names = {}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        names[field] = tuple(str(choice) for choice in choices)
    return names


def secret_fields() -> tuple[str, ...]:
    """The settings that are secrets: those whose type says so."""
    return tuple(
        field for field, info in Settings.model_fields.items() if _is_secret(info.annotation)
    )


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


def _read_files(given: dict[str, str]) -> dict[str, str]:
    """Put the secrets that files hold into `given`; returns the variable of each one's file."""
    variables, read_from = variable_names(), {}
    for field in secret_fields():
        plain = [name for name in variables[field] if name in given]
        for file in variables[f"{field}_file"]:
            if file not in given:
                continue
            if plain:
                raise SettingsError(f"{plain[0]} and {file} are both set: unset one of them.")
            try:
                secret = read_secret(Path(given[file]))
            except ValueError as error:
                # Whoever puts the secret itself there must not see it printed.
                shown = f"={given[file]}" if given[file].startswith("/") else ""
                raise SettingsError(f"Cannot start: the file {file}{shown} {error}.") from None
            given[variables[field][0]] = secret
            read_from[variables[field][0]] = file
    return read_from


def _problem(
    read_from: Mapping[str, str], loc: tuple[int | str, ...], value: object, message: str
) -> str:
    variable = str(loc[0])
    secrets = {name for field in secret_fields() for name in variable_names()[field]}
    is_secret = variable in secrets or _MAY_HOLD_A_SECRET.search(str(value))
    shown = "" if is_secret else f"={shorten(str(value), _MAX_SHOWN)}"
    reason = message.removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    place = f" in the file {read_from[variable]}" if variable in read_from else ""
    return f"{variable}{place}{shown} {reason}"
