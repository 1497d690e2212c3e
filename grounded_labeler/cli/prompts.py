"""Show and change the prompts that the service remembers.

The service remembers the newest prompt of each project and looks for it in tasks that nobody
typed a prompt for. `list` shows what is remembered, `set` changes it, `forget` takes it back.
The service sees the change with the next task. PROMPT_STORE, or else DATA_DIR and MODEL_DIR,
say where prompts are kept: set them as for the service.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from grounded_labeler._text import one_line
from grounded_labeler.core.prompt import MAX_CHARACTERS, MAX_PHRASES, parse_prompt
from grounded_labeler.errors import GroundedLabelerError, PromptError
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.parsing import parser_of
from grounded_labeler.prompts.history import prompt_key
from grounded_labeler.prompts.store import Entry, PromptStore, StoreError
from grounded_labeler.service import prompt_store
from grounded_labeler.settings import Settings

_PROJECT = (
    "number of the project in Label Studio, as 7; where several Label Studios share the store, "
    "as `list` shows it: 7.1795170150"
)


class PromptsError(GroundedLabelerError):
    """The command cannot be done; the message says why, and how it can."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    options = _parse(argv)
    try:
        settings = Settings.from_env(os.environ)
        store = prompt_store(settings)
        lines = _run(options, settings, store)
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except StoreError as error:
        sys.stderr.write(f"{store.place} cannot be used ({error}). {store.remedy}\n")
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may know ASCII alone
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of("prompts", __doc__ or "")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("list", help="show the remembered prompts, the newest first")
    show.add_argument("project", nargs="?", metavar="PROJECT", help=_PROJECT)
    show.add_argument("--image", metavar="NAME", help="only those of the image tag NAME")
    change = commands.add_parser("set", help="remember a prompt, as if it had been typed now")
    change.add_argument("project", metavar="PROJECT", help=_PROJECT)
    change.add_argument("prompt", metavar="PROMPT", help='what to look for, as "red car . person"')
    change.add_argument("--image", metavar="NAME", help="the image tag, where there are several")
    forget = commands.add_parser("forget", help="remember no prompt of a project any more")
    forget.add_argument("project", metavar="PROJECT", help=_PROJECT)
    forget.add_argument("--image", metavar="NAME", help="only that of the image tag NAME")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace, settings: Settings, store: PromptStore) -> list[str]:
    known = [
        entry
        for entry in store.entries()
        if options.project in (None, _project(entry), _number(_project(entry)))
        and options.image in (None, _image(entry))
    ]
    if options.command == "list":
        return [_line(entry) for entry in known]
    if options.command == "set":
        return [_set(options, settings, store, known)]
    return _forget(options, store, known)


def _set(
    options: argparse.Namespace, settings: Settings, store: PromptStore, known: Sequence[Entry]
) -> str:
    prompt = options.prompt.strip()
    if len(prompt) > MAX_CHARACTERS:
        raise PromptError(f"The prompt has more than {MAX_CHARACTERS:,} characters: shorten it.")
    phrases = parse_prompt(prompt, ()).phrases
    if all(phrase.negative for phrase in phrases) or len(phrases) > MAX_PHRASES:
        raise PromptError(f"A prompt names something to look for, {MAX_PHRASES:,} things at most.")
    key = prompt_key(*_place(options, settings, known))
    kept = store.newest(key)
    # Not before what it replaces: a machine whose clock is ahead may have learned that.
    learned = max(time.time(), kept[0] if kept else 0.0)
    store.save(key, learned, prompt)
    return _line(Entry(key, learned, prompt))


def _forget(options: argparse.Namespace, store: PromptStore, known: Sequence[Entry]) -> list[str]:
    if not known:
        raise PromptsError(f"Nothing is remembered of project {options.project}.")
    # Earlier versions knew projects by number alone; what they left goes with the others.
    _only("projects of that number", _made(options.project, known) or {options.project})
    for entry in known:
        store.delete(entry.project)
    return [f"forgotten: {_line(entry)}" for entry in known]


def _place(
    options: argparse.Namespace, settings: Settings, known: Sequence[Entry]
) -> tuple[str, str]:
    """The project and the image tag that a prompt is to be remembered for.

    A project given by its number alone is looked up in Label Studio, where the settings
    name one, or else in what is remembered already.
    """
    project, image = options.project, options.image
    if _number(project) == project:
        if settings.label_studio_url is not None and settings.label_studio_api_key is not None:
            return _ask_label_studio(project, image, settings)
        made = _made(project, known)
        if not made:
            raise PromptsError(
                f"It is not known when project {project} was made, which tells it from those of "
                "other Label Studios: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY."
            )
        project = _only("projects of that number", made)
    images = {_image(entry) for entry in known if _project(entry) == project}
    return project, image or _only("image tags", images or {"image"})


def _made(number: str, known: Sequence[Entry]) -> set[str]:
    """The projects of this number in full, with the times they were made."""
    return {_project(entry) for entry in known} - {number}


def _ask_label_studio(project: str, image: str | None, settings: Settings) -> tuple[str, str]:
    from grounded_labeler.label_studio_api.project import Project  # noqa: PLC0415 - the SDK is slow

    if not project.isdecimal():
        raise PromptsError(f'"{project}" is no number of a project.')
    token = settings.label_studio_api_key
    url = settings.label_studio_url or ""
    asked = Project(url, token.get_secret_value() if token else "", int(project))
    images = {target.name for target in read_label_config(asked.label_config()).images}
    if image is not None and image not in images:
        raise PromptsError(f"Project {project} has no image {image}, but {_names(images)}.")
    return asked.key(), image or _only("image tags", images)


def _only(what: str, names: set[str]) -> str:
    """The only one of `names`; raises PromptsError when there are several."""
    if len(names) > 1:
        raise PromptsError(f"There are several {what}; say which: {_names(names)}.")
    return next(iter(names))


def _project(entry: Entry) -> str:
    return entry.project.partition("/")[0]


def _image(entry: Entry) -> str:
    return entry.project.partition("/")[2]


def _number(project: str) -> str:
    return project.partition(".")[0]


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _line(entry: Entry) -> str:
    learned = datetime.fromtimestamp(entry.learned, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return "\t".join(map(one_line, (_project(entry), _image(entry), learned, entry.prompt)))
