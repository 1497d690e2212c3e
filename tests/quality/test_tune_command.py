"""The command `tune`: on a folder, on a project, into the project, and what it refuses."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from grounded_labeler.cli.tune import main
from grounded_labeler.core.types import Label
from grounded_labeler.demo.example import write_example
from grounded_labeler.evaluation.curve import PrecisionAtLeast
from grounded_labeler.label_studio.backend import GroundedLabeler
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.prompts.history import prompt_key
from grounded_labeler.quality.sample import read_tuned
from grounded_labeler.quality.tune_command import goal_of
from grounded_labeler.quality.tuned_config import folder_xml, names_models
from grounded_labeler.service import Service
from tests.helpers.asking import IMAGE, PROMPT, view
from tests.preannotate.label_studio_server import Project, serve
from tests.quality.drawn import draw
from tests.server.test_tuning import CONFIG, regions

pytestmark = pytest.mark.slow

IMAGES = 24
MakeService = Callable[..., Service]


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"DETECTOR": "demo", "SEGMENTER": "demo", "CPU_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(CONFIG)
    for number, drawn in enumerate(draw(IMAGES, seed=70_000)):
        file = io.BytesIO()
        Image.fromarray(drawn.image).save(file, "png")
        task = made.add(f"/data/upload/1/{number}.png", file.getvalue())
        made.annotate(task, regions(drawn))
    with serve(made):
        monkeypatch.setenv("LABEL_STUDIO_URL", made.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a" * 40)
        yield made


def test_a_folder_is_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_example(tmp_path, IMAGES)
    out = tmp_path / "tuned"
    command = [
        "--images", str(tmp_path / "images"), "--truth", str(tmp_path / "truth.json"),
        "--out", str(out), "--try", "disc: circle, square",
    ]  # fmt: skip
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Disc -> circle" in printed
    assert '+    <Label value="Disc" prompt="circle"' in printed
    assert "more would halve it." in printed
    xml = (out / "label-config.xml").read_text()
    [target] = read_label_config(xml).images
    assert [label.value for label in target.labels] == ["Disc", "Square", "Star", "Ring"]
    assert target.labels[0].prompt == "circle"
    figures = json.loads((out / "tuned.json").read_text())
    assert figures["project"] is None
    assert len(figures["tasks"]) == IMAGES
    assert figures["goal"] == {"highest": "f1"}
    [models] = figures["models"]
    assert models["labels"][0]["before"]["f1"]["value"] == 0
    assert models["labels"][0]["before"]["precision"] is None
    # Another goal takes what was found, and keeps the tasks that chose before.
    few = [*command, "--precision", "0.9"]
    assert main(few) == 0
    assert "Loading" not in capsys.readouterr().out
    again = json.loads((out / "tuned.json").read_text())
    assert again["goal"] == {"at_least": {"precision": 0.9}}
    assert again["tasks"] == figures["tasks"]


def test_a_project_is_as_it_was_without_apply_and_changed_with_it(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_service: MakeService
) -> None:
    command = ["--project", "7", "--out", str(tmp_path / "tuned")]
    assert main(command) == 0
    assert "The project is as it was: --apply writes" in capsys.readouterr().out
    assert project.label_config == CONFIG
    assert main([*command, "--task-ids", *map(str, range(1, 13)), "--apply"]) == 0
    printed = capsys.readouterr().out
    written = (tmp_path / "tuned" / "label-config.xml").read_text()
    assert project.label_config == written
    assert 'prompt="circle"' in written
    assert printed.index("+<View>") < printed.index("The label config of project 7 has these")
    figures = json.loads((tmp_path / "tuned" / "tuned.json").read_text())
    assert figures["project"] == 7
    assert sorted(figures["tasks"]) == list(range(1, IMAGES + 1))
    # No promise about predictions may rest on these again.
    assert read_tuned(tmp_path / "tuned" / "tuned.json", 7) == frozenset(range(1, IMAGES + 1))
    service = make_service(LABEL_STUDIO_URL=project.url)
    labeler = GroundedLabeler.bound_to(service)("7", written)
    assert labeler.model_version == figures["model_version"]
    assert labeler.model_version in printed
    # What it has now is the best that is known.
    assert main([*command, "--apply"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing is better than what there is" in printed
    assert project.label_config == written


def test_a_prompt_that_hides_the_labels_is_told(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], make_service: MakeService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    service = make_service(LABEL_STUDIO_URL=project.url)
    service.prompts.save(prompt_key("7.1767323045", "image"), "red star")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert main(["--project", "7", "--out", str(tmp_path / "tuned"), "--keep-phrases"]) == 0
    printed = capsys.readouterr().out
    assert 'The project is asked for "red star", the prompt that was typed last' in printed


def test_a_config_that_was_changed_meanwhile_is_left_alone(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = project.get

    def changing(path: str, query: dict[str, list[str]]) -> tuple[int, object]:
        if path == "/api/tasks":
            project.label_config = CONFIG.replace("Star", "Sun")
        return answer(path, query)

    project.get = changing  # type: ignore[method-assign]
    command = ["--project", "7", "--out", str(tmp_path / "tuned"), "--apply"]
    assert main(command) == 1
    assert "was changed meanwhile: run the command again." in capsys.readouterr().err
    assert "Sun" in project.label_config
    assert (tmp_path / "tuned" / "tuned.json").is_file(), "what came out is kept"


def test_what_cannot_be_used_is_said_before_anything_runs(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned"
    command = ["--project", "7", "--out", str(out)]
    assert main([*command, "--try", "bus: coach"]) == 1
    assert 'is for the label "bus", which is not there' in capsys.readouterr().err
    out.mkdir()
    for text, sentence in (
        ("{", "was not written by this command"),
        ("[]", "was not written by this command"),
        ('{"project": 8, "tasks": []}', "is of project 8, and not of 7"),
    ):
        (out / "tuned.json").write_text(text)
        assert main(command) == 1
        assert sentence in capsys.readouterr().err
        assert (out / "tuned.json").read_text() == text
    assert project.fetched == []


def test_without_annotations_there_is_nothing_to_tune_by(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.annotations.clear()
    assert main(["--project", "7", "--out", str(tmp_path / "tuned")]) == 1
    assert "There is no submitted annotation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--images", "x", "--truth", "y", "--apply"], "--apply is for --project"),
        (["--project", "7", "--precision", "0.9", "--recall", "0.9"], "not allowed with"),
        (["--project", "7", "--precision", "1.5"], "it must be above 0 and at most 1"),
        (["--project", "7", "--recall", "nan"], "it must be above 0 and at most 1"),
        (["--project", "7", "--recall", "all"], "it must be above 0 and at most 1"),
        (["--images", "x"], "--images needs --truth"),
        (["--project", "7", "--try", "a: b", "--keep-phrases"], "--try is for phrases"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(options)
    assert sentence in capsys.readouterr().err


def test_a_config_for_a_folder_can_be_pasted() -> None:
    xml = folder_xml([Label('a "b" & <c>'), Label("d")])
    [target] = read_label_config(xml).images
    assert [label.value for label in target.labels] == ['a "b" & <c>', "d"]
    assert names_models(xml)
    assert not names_models(view(IMAGE, '<RectangleLabels name="l" toName="image"/>'))
    assert names_models(CONFIG)
    assert PROMPT in CONFIG


def test_the_goal_is_what_the_options_say() -> None:
    from grounded_labeler.cli.tune import options_parser

    options = options_parser().parse_args(["--project", "7", "--precision", "0.95"])
    assert goal_of(options) == PrecisionAtLeast(0.95)
