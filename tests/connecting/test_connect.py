"""`grounded-labeler connect`, against a stand-in for Label Studio and the real service."""

from collections.abc import Iterator

import jwt
import pytest

from grounded_labeler.cli.connect import main
from grounded_labeler.label_studio.config import read_label_config
from tests.conftest import MakeClient
from tests.connecting.label_studio import (
    BLOCKED,
    BREAKS,
    LEGACY_OFF,
    NO_BACKEND,
    NO_HEALTH,
    NO_LOGIN,
    SERVICE,
    UNTRUSTED,
    ConnectableProject,
    StandingService,
    invalid,
    refusal,
    serving,
)
from tests.helpers.asking import IMAGE, RECTANGLES, TUTORIAL, view
from tests.helpers.label_studio import TOKEN
from tests.preannotate.label_studio_server import Answer, serve

# Of a network for documentation: nothing answers there from here, either.
ELSEWHERE = "http://127.0.0.1:9"
FOUND = {
    "data": {
        "result": [
            {"type": "rectanglelabels", "from_name": "boxes", "value": {}},
            {"type": "textarea", "from_name": "status", "value": {"text": ["Found 1 Car."]}},
        ]
    }
}


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectableProject]:
    """An empty project with one task."""
    with serve(ConnectableProject("<View></View>")) as running:
        assert isinstance(running, ConnectableProject)
        for name in ("LABEL_STUDIO_HOST", "BASIC_AUTH_USER", "BASIC_AUTH_PASS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("SEGMENTER", "none")
        monkeypatch.setenv("LABEL_STUDIO_URL", running.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
        running.add("/data/upload/1/a.jpg")
        running.service = lambda _: FOUND
        yield running


def connect(*more: str, url: str = ELSEWHERE) -> int:
    return main(["--project", "7", "--labels", "Car,Person", "--url", url, *more])


def test_an_empty_project_gets_all_that_it_needs(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTER", "mobile-sam")
    monkeypatch.setenv("BASIC_AUTH_USER", "anna")
    monkeypatch.setenv("BASIC_AUTH_PASS", "not to be printed")
    assert connect("--yes") == 0
    [target] = read_label_config(project.label_config).images
    assert (target.prompt_name, target.status_name) == ("prompt", "status")
    assert [label.value for label in target.labels] == ["Car", "Person"]
    assert {control.geometry for control in target.controls} == {"box", "brush"}
    assert target.has_smart_tools
    [backend] = project.backends
    assert backend == {
        "id": 1, "project": 7, "url": ELSEWHERE, "title": "grounded-labeler",
        "is_interactive": True, "auth_method": "BASIC_AUTH", "basic_auth_user": "anna",
        "basic_auth_pass": "not to be printed",
    }  # fmt: skip
    [asked] = project.asked
    [typed] = asked["context"]["result"]
    assert (asked["task"], typed["value"]) == (1, {"text": ["Car . Person"]})
    printed = capsys.readouterr().out
    assert '+    <Label value="Car"/>' in printed
    assert f"Nothing answers this machine at {ELSEWHERE}: " in printed
    assert "Asked through Label Studio, task 1: 1 regions. Found 1 Car." in printed
    assert printed.rstrip().endswith(f"Open {project.url}/projects/7/data")
    assert "not to be printed" not in printed
    assert TOKEN not in printed


def test_a_second_time_changes_nothing_and_doubles_nothing(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connect("--yes") == connect("--yes") == 0
    assert len(project.written) == 1
    assert len(project.backends) == 1
    printed = capsys.readouterr().out
    assert "The label config of project 7 has all that is needed." in printed
    assert "was connected, and is up to date" in printed
    # Nor does another address make a second one.
    assert connect("--yes", url="http://127.0.0.1:10") == 0
    assert [one["url"] for one in project.backends] == ["http://127.0.0.1:10"]


def test_a_model_that_was_connected_by_hand_keeps_its_title(project: ConnectableProject) -> None:
    own = {"id": 1, "title": "Cars", "url": f"{ELSEWHERE}/", "is_interactive": False}
    project.backends.append(own)
    assert connect("--yes") == 0
    [backend] = project.backends
    assert (backend["title"], backend["is_interactive"]) == ("Cars", True)


def test_an_older_model_that_the_editor_asks_first_is_named(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"id": 1, "title": "yolo", "url": "http://yolo:9090", "is_interactive": True}
    project.backends.append(other)
    assert connect("--yes") == 0
    assert project.backends[0] == other
    assert len(project.backends) == 2
    assert 'The editor asks the model "yolo" at http://yolo:9090' in capsys.readouterr().out


def test_a_dry_run_shows_and_changes_nothing(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connect("--dry-run") == 0
    printed = capsys.readouterr().out
    assert '+  <RectangleLabels name="boxes" toName="image">' in printed
    assert "Nothing was changed: --dry-run." in printed
    assert (project.written, project.backends, project.asked) == ([], [], [])


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_it_asks_a_person_before_it_writes(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, typed: str, code: int,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: typed, raising=False)
    assert connect() == code
    assert len(project.written) == len(project.backends) == 1 - code
    printed = capsys.readouterr()
    assert printed.out.index('+    <Label value="Car"/>') < printed.out.index("[y/N]")
    assert ("Nothing was changed." in printed.err) == bool(code)


def test_where_nobody_can_be_asked_it_says_so(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connect() == 1
    assert "give --yes to go on" in capsys.readouterr().err
    assert project.written == []


def test_a_project_without_tasks_is_tried_on_a_bundled_image(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str], make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    project.tasks.clear()
    project.label_config = view(IMAGE, RECTANGLES)
    monkeypatch.setenv("LABEL_STUDIO_URL", project.url)
    with serving(make_client()) as url:
        assert main(["--project", "7", "--url", f"{url}/", "--yes"]) == 0
    printed = capsys.readouterr().out
    assert "The project has no task; asked directly, a bundled image: " in printed
    assert ": 0 regions" not in printed
    assert project.backends[0]["url"] == url


@pytest.mark.parametrize(
    ("where", "answer", "sentences"),
    [
        ("POST /api/ml", refusal(403, BLOCKED),
         ["private address", "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"]),
        ("POST /api/ml", invalid(NO_HEALTH.format(url=SERVICE)), ["is the container itself"]),
        ("POST /api/ml", invalid(UNTRUSTED.format(url=SERVICE)),
         ["does not trust the certificate", "REQUESTS_CA_BUNDLE"]),
        ("POST /api/ml", invalid(NO_LOGIN), ["BASIC_AUTH_USER and BASIC_AUTH_PASS"]),
        ("POST /api/ml", invalid(NO_BACKEND.format(url=SERVICE)),
         ["refuses the project", "The label config has no labels"]),
        ("POST /api/ml", refusal(500, "Can't resolve hostname 127.0.0.1"),
         ["cannot resolve 127.0.0.1", "--url"]),
        ("GET /api/projects", refusal(401, LEGACY_OFF),
         ["is a legacy token", "personal access token"]),
        ("GET /api/projects", refusal(401, "Invalid token."), ["does not know the token"]),
        ("GET /api/projects", refusal(401, "Token is blacklisted"), ["expired or revoked"]),
        ("GET /api/projects", refusal(401, "Token has wrong type"), ["is an access token"]),
        ("GET /api/projects", refusal(404, "Not found."), ["There is no project 7"]),
        ("GET /api/projects", refusal(404, "No Project matches the given query."),
         ["There is no project 7"]),
        # The service itself, or a Label Studio that is under another path.
        ("GET /api/projects", (404, {"error": "The requested URL was not found."}),
         ["is no Label Studio, or has it under another path: check LABEL_STUDIO_URL"]),
        ("GET /api/projects", (404, None), ["is no Label Studio, or has it under another path"]),
        ("PATCH /api/projects", refusal(403, "You do not have permission to perform this action."),
         ["The user of LABEL_STUDIO_API_KEY may not do this in project 7"]),
        ("POST /api/projects/7/validate", invalid(BREAKS),
         ["has annotations that the new label config would break", "3 with from_name=cats"]),
        ("POST /api/projects/7/validate", invalid("Label config contains non-unique names"),
         ["refuses the new label config: Label config contains non-unique names"]),
    ],
)  # fmt: skip
def test_the_usual_failures_are_named(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str], where: str, answer: Answer,
    sentences: list[str],
) -> None:  # fmt: skip
    project.refusals[where] = answer
    assert connect("--yes") == 1
    said = capsys.readouterr().err
    assert [sentence for sentence in sentences if sentence not in said] == []
    assert said.count("\n") == 1
    assert project.asked == []


def test_a_token_that_ends_by_itself_is_named(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = jwt.encode({"exp": 1, "token_type": "refresh"}, "0" * 32)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", token)
    assert connect("--yes") == 1
    said = capsys.readouterr().err
    assert "The personal access token is expired or revoked" in said
    assert token not in said


def test_a_service_that_is_not_ready_is_said_before_anything_is_written(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str]
) -> None:
    loading = {"error": "The models are still loading: try again in a minute."}
    with serve(StandingService("", ready=(503, loading))) as service:
        assert connect("--yes", url=service.url) == 1
    said = capsys.readouterr().err
    assert f"The service at {service.url} is not ready: The models are still loading" in said
    assert (project.written, project.backends) == ([], [])


def test_an_address_elsewhere_that_is_not_reached_is_no_container(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.refusals["POST /api/ml"] = invalid(NO_HEALTH.format(url="http://labeler.invalid:9090"))
    assert connect("--yes", url="http://labeler.invalid:9090") == 1
    said = capsys.readouterr().err
    assert "cannot reach the service at http://labeler.invalid:9090" in said
    assert "Connection refused" in said


@pytest.mark.parametrize("tag", ["Text", "Audio", "Video"])
def test_a_project_of_other_things_is_left_alone(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str], tag: str
) -> None:
    project.label_config = f'<View><{tag} name="t" value="$t"/></View>'
    assert connect("--yes") == 1
    assert "This is no project of images" in capsys.readouterr().err
    assert (project.written, project.backends) == ([], [])


def test_a_service_that_fails_is_said_with_its_reason(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.service = lambda _: {"errors": ["503 Server Error: The models are still loading"]}
    assert connect("--yes") == 1
    assert "The models are still loading" in capsys.readouterr().err


def test_a_config_with_everything_needs_no_labels(project: ConnectableProject) -> None:
    project.label_config = TUTORIAL
    assert main(["--project", "7", "--url", ELSEWHERE, "--yes"]) == 0
    assert project.written == []


@pytest.mark.parametrize("number", ["0", "-1", "seven", "1_0", "9" * 30])
def test_a_number_that_no_project_has_is_refused(
    capsys: pytest.CaptureFixture[str], number: str
) -> None:
    with pytest.raises(SystemExit):
        main([f"--project={number}"])
    assert "must be a number from its page's address" in capsys.readouterr().err


def test_labels_that_tasks_bring_are_not_added_in_silence(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str]
) -> None:
    dynamic = '<RectangleLabels name="b" toName="image" value="$brands"/>'
    project.label_config = view(IMAGE, dynamic)
    assert connect("--dry-run") == 0
    printed = capsys.readouterr().out
    assert "Not added: Car, Person. The tasks of this project bring their labels." in printed


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:9090", "must be an address such as http://localhost:9090"),
        ("http://labeler:99999", "must be an address such as http://localhost:9090"),
        ("http://", "must be an address such as http://localhost:9090"),
        ("http://anna:sekrit@labeler", "must have no user name"),
        ("http://labeler?a=1", "must have no user name, ? or #"),
    ],
)
def test_an_address_that_is_none_is_refused(
    project: ConnectableProject, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    assert connect("--yes", url=url) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "sekrit" not in error
    assert project.written == []


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (" , ", "name at least one, as Car,Person"),
        # Which XML cannot hold, or a terminal would obey.
        ("Car,a\x01b", "a name has a character in it that cannot be printed"),
        ("Car,a\udcffb", "a name has a character in it that cannot be printed"),
        ("Car,\x1b[31mred", "a name has a character in it that cannot be printed"),
    ],
)
def test_labels_that_are_none_are_refused(
    capsys: pytest.CaptureFixture[str], labels: str, said: str
) -> None:
    with pytest.raises(SystemExit):
        main(["--project", "7", "--labels", labels])
    assert said in capsys.readouterr().err
