"""The image as `docker compose up` runs it: what it answers, and what it may not do."""

import pytest

from container.asking import asking, corners, overlap
from container.engine import Compose

SERVICE = "labeler"
# Of wide.jpg, where the bundled truth.json says them to be.
RED_CIRCLE, BLUE_STAR = [55.0, 233.0, 152.0, 329.0], [347.0, 278.0, 532.0, 458.0]


def test_what_is_typed_is_found_where_it_is(service: Compose) -> None:
    answer = service.python(SERVICE, asking("red circle . blue star"))
    assert sorted(answer["labels"]) == ["Circle", "Star"]
    assert [mask for mask in answer["masks"] if overlap(corners(mask), RED_CIRCLE) > 0.8]
    assert [mask for mask in answer["masks"] if overlap(corners(mask), BLUE_STAR) > 0.8]


@pytest.mark.parametrize(
    ("what", "command", "said"),
    [
        pytest.param("not root", "id -u", "10001", id="user"),
        pytest.param("capabilities", "grep CapEff /proc/1/status | cut -f2", "0" * 16, id="caps"),
        pytest.param("privileges", "grep NoNewPrivs /proc/1/status | cut -f2", "1", id="no new"),
        pytest.param(
            "root", "touch /app/here 2>&1; touch /etc/here 2>&1 | tail -c 22", "", id="ro"
        ),
        pytest.param("compilers", "command -v gcc cc g++ make pip; true", "", id="no tools"),
        pytest.param("pip's cache", "ls -d /root/.cache 2>/dev/null; true", "", id="no cache"),
        pytest.param("init", "cat /proc/1/comm | grep -c init", "1", id="init"),
    ],
)
def test_it_can_do_no_more_than_it_must(
    service: Compose, what: str, command: str, said: str
) -> None:
    found = service.shell(SERVICE, command)
    if what == "root":
        assert found.count("Read-only file system") == 2 or "Read-only" in found, found
    else:
        assert found == said, what


def test_the_prompt_is_remembered_when_it_is_stopped_and_made_anew(service: Compose) -> None:
    service.python(SERVICE, asking("blue star"))
    service.run("stop", SERVICE)
    service.up()
    assert service.python(SERVICE, asking(None))["texts"]["prompt"] == "blue star"
    service.run("rm", "--stop", "--force", SERVICE)
    service.up()
    answer = service.python(SERVICE, asking(None))
    assert answer["texts"]["prompt"] == "blue star"
    assert answer["labels"] == ["Star", "Star"] or answer["labels"] == ["Star"]


@pytest.mark.parametrize("engine", [[], ["--ray"]], ids=["one process", "Ray"])
def test_a_folder_is_labelled_by_the_command_in_it(service: Compose, engine: list[str]) -> None:
    out = f"/data/preannotated{len(engine)}"
    said = service.run(
        "run", "--rm", SERVICE, "python", "-m", "grounded_labeler", "preannotate",
        "--images", "grounded_labeler/demo/samples", "--labels", "Circle,Star",
        "--out", out, *engine,
    )  # fmt: skip
    assert "4 tasks, 0 failed" in said
    assert service.shell(SERVICE, f"ls {out}").split() == [
        "coco.json", "journal.sqlite3", "log.txt", "sheet.jpg"
    ]  # fmt: skip


def test_it_ends_when_it_is_told_to(service: Compose) -> None:
    service.run("stop", SERVICE)
    state = service.run("ps", "--all", "--format", "{{.ExitCode}}", SERVICE)
    assert state.strip() == "0", "it was killed"
    assert "Shutting down" in service.logs(SERVICE)
    service.up()


def test_without_a_token_it_says_so_and_runs(service: Compose) -> None:
    assert "LABEL_STUDIO_API_KEY is not set" in service.logs(SERVICE)


def test_the_settings_of_compose_are_the_service_s(compose: Compose) -> None:
    told = {"BOX_THRESHOLD": "0.99", "LABEL_STUDIO_API_KEY": "", "USE_SAM": ""}
    other = Compose(compose.folder, {**compose.environ, **told})
    other.up()
    try:
        assert other.python(SERVICE, asking("red circle"))["labels"] == []
    finally:
        other.down()
