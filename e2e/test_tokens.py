"""Flow 11: the two kinds of token, and a wrong one. (All other flows use a legacy token.)"""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.configs import BOXES, view
from e2e.conftest import Annotate, StartService
from e2e.label_studio import LEGACY_TOKEN, LabelStudio
from e2e.pages import Editor
from e2e.truth import WIDE, assert_found, drawn, of_type
from grounded_labeler.demo.process import HERE

pytestmark = pytest.mark.compatibility

# As real ones look, but of nobody.
WRONG_LEGACY = "f" * 40
WRONG_PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.AAAAAAAAAAAAAAAAAAAAAA"


def test_personal_access_token(
    label_studio: LabelStudio, start_service: StartService, annotate: Annotate, out: Path
) -> None:
    token = label_studio.personal_access_token()
    as_it_is = {"Authorization": f"Bearer {token}"}
    refused = HERE.get(f"{label_studio.url}/api/projects", headers=as_it_is, timeout=110)
    assert refused.status_code == 401  # good for nothing but an exchange
    project = label_studio.project("Personal access token", view(BOXES))
    with start_service("personal", LABEL_STUDIO_API_KEY=token, PREANNOTATE="off") as url:
        label_studio.connect(project, url)
        [task] = label_studio.upload(project, WIDE)
        boxes = of_type(annotate(project, task, "red circle"), "rectanglelabels")
        assert_found(drawn(WIDE), boxes, "red circle")
    assert token not in (out / "personal" / "service.log").read_text()


@pytest.mark.parametrize(
    ("name", "token", "sentence"),
    [
        ("wrong-legacy", WRONG_LEGACY, "Label Studio refused the token (401)"),
        ("wrong-personal", WRONG_PERSONAL, "Label Studio refused the personal access token (401)"),
    ],
    ids=["legacy", "personal"],
)
def test_a_wrong_token_is_said_to_the_annotator_and_in_the_log(
    label_studio: LabelStudio, start_service: StartService, editor: Editor, out: Path,
    name: str, token: str, sentence: str,
) -> None:  # fmt: skip
    project = label_studio.project("Wrong token", view(BOXES))
    with start_service(name, LABEL_STUDIO_API_KEY=token, PREANNOTATE="off") as url:
        label_studio.connect(project, url)
        [task] = label_studio.upload(project, WIDE)
        editor.open(project, task)
        editor.auto_annotation()
        editor.ask("red circle")
        expect(editor.status).to_contain_text(sentence)
        expect(editor.status).to_contain_text("create a personal access token")
    log = (out / name / "service.log").read_text()
    assert f"task {task}: {sentence}" in log
    assert token not in log
    assert LEGACY_TOKEN not in log  # /setup brings it
