"""Models of which the hub alone knows the sums."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from grounded_labeler.cli.weights import main
from grounded_labeler.errors import WeightsError
from grounded_labeler.weights import catalog
from grounded_labeler.weights.catalog import DETECTORS, HUB
from grounded_labeler.weights.checksums import check_present, missing_files, sums_of, verify
from grounded_labeler.weights.choice import detector
from grounded_labeler.weights.download import download
from grounded_labeler.weights.hub import Hub
from grounded_labeler.weights.listing import read_listing
from grounded_labeler.weights.model import HubRepository, Model, ModelFile
from tests.helpers.hub_server import COMMIT, HubServer, hub_server
from tests.helpers.weights_server import closed_address

REPOSITORY = "someone/my-dino"
CONTENT = b"weights of a model" * 1000
NO_WAITS = (0.0, 0.0)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """Has one repository, with a README beside what engines read."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "grounding-dino"}')
    (folder / "model.safetensors").write_bytes(CONTENT)
    (folder / "pytorch_model.bin").write_bytes(b"code")
    (folder / "README.md").write_text("mine")
    with hub_server() as server:
        server.repositories[REPOSITORY] = folder
        yield server


@pytest.fixture
def model() -> Model:
    return Model("mine", "transformers", f"{HUB}{REPOSITORY}", "MIT", hub=HubRepository(REPOSITORY))


def test_what_the_hub_states_is_kept_and_held_to(
    hub: HubServer, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert missing_files(model, tmp_path) == [tmp_path / "mine" / "hub.json"]
    download(model, tmp_path, hub=Hub(hub.url))
    said = capsys.readouterr().out
    assert f"{hub.url.removeprefix('http://')} states for commit {COMMIT[:12]}: kept" in said
    check_present([model], tmp_path)
    verify(model, tmp_path)
    files = {path.name for path in (tmp_path / "mine").iterdir() if path.name[0] != "."}
    assert files - {f"{name}.verified" for name in files} == {
        "config.json", "hub.json", "model.safetensors",
    }  # fmt: skip
    assert sums_of(model, tmp_path)["mine/model.safetensors"] == hashlib.sha256(CONTENT).hexdigest()
    # What is fetched again comes from the same commit, and the hub is not asked what that is.
    hub.asked.clear()
    (tmp_path / "mine" / "model.safetensors").unlink()
    download(model, tmp_path, hub=Hub(hub.url))
    assert [path for path, _ in hub.asked] == [
        f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors",
        f"/store/{REPOSITORY}/model.safetensors",
    ]


def test_other_content_is_refused_later(hub: HubServer, model: Model, tmp_path: Path) -> None:
    download(model, tmp_path, hub=Hub(hub.url))
    (tmp_path / "mine" / "model.safetensors").unlink()
    (hub.repositories[REPOSITORY] / "model.safetensors").write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsError, match="is not what was published"):
        download(model, tmp_path, hub=Hub(hub.url))


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("config.json", {"blobId": "0" * 40}),
        ("config.json", {"blobId": None}),
        ("model.safetensors", {"lfs": {"sha256": "0" * 64, "size": len(CONTENT)}}),
        ("model.safetensors", {"lfs": {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": 1}}),
    ],
)
def test_a_file_that_is_not_what_the_hub_states_is_refused(
    hub: HubServer, model: Model, tmp_path: Path, name: str, stated: dict[str, object]
) -> None:
    hub.stated[name] = stated
    with pytest.raises(WeightsError, match=rf"{name}.* (is not|has 1 bytes)"):
        download(model, tmp_path, hub=Hub(hub.url))
    assert not (tmp_path / "mine" / name).is_file()


@pytest.mark.parametrize(
    "stated",
    [
        "large", [], {}, {"sha256": "0" * 64, "size": "5"}, {"sha256": "0" * 64, "size": 0},
        {"sha256": "0" * 64, "size": -1}, {"sha256": None, "size": 5}, {"sha256": "..", "size": 5},
    ],
)  # fmt: skip
def test_what_no_hub_states_of_a_file_is_one_sentence(
    hub: HubServer, model: Model, tmp_path: Path, stated: object
) -> None:
    hub.stated["model.safetensors"] = {"lfs": stated}
    with pytest.raises(WeightsError, match=r"does not answer as the hub does: model.safetensors"):
        download(model, tmp_path, hub=Hub(hub.url))
    assert read_listing(tmp_path / "mine") is None


def test_a_sum_of_the_catalog_wins(hub: HubServer, model: Model, tmp_path: Path) -> None:
    known = ModelFile("model.safetensors", "", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    download(replace(model, files=(known,)), tmp_path / "right", hub=Hub(hub.url))
    other = replace(known, sha256="1" * 64)
    with pytest.raises(WeightsError, match=f"another sum for model.safetensors .*{'1' * 64}"):
        download(replace(model, files=(other,)), tmp_path / "wrong", hub=Hub(hub.url))
    assert read_listing(tmp_path / "wrong" / "mine") is None


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"sha": "main", "siblings": []}'])
def test_a_page_in_place_of_the_hub_is_one_sentence(
    hub: HubServer, model: Model, tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests.Response, "json", lambda _: json.loads(body))
    with pytest.raises(WeightsError, match="does not answer as the hub does"):
        download(model, tmp_path, hub=Hub(hub.url))


@pytest.mark.parametrize(
    "text",
    ['[{"name": "model.safetensors"}]', "", "5", "[]", "{}", "[" * 100_000],
    ids=["no sum", "empty", "number", "no file", "object", "deep"],
)
def test_a_damaged_listing_is_one_sentence(
    hub: HubServer, model: Model, tmp_path: Path, text: str
) -> None:
    download(model, tmp_path, hub=Hub(hub.url))
    (tmp_path / "mine" / "hub.json").write_text(text)
    with pytest.raises(WeightsError, match=r"hub.json.* is damaged: remove it"):
        check_present([model], tmp_path)
    with pytest.raises(WeightsError, match=r"hub.json.* is damaged: remove it"):
        download(model, tmp_path, hub=Hub(hub.url))


@pytest.mark.parametrize("name", ["../taken", "/tmp/taken", "..", ".lock", "a/b", "", 5])
def test_a_listing_of_somebody_else_names_no_file_outside_its_folder(
    hub: HubServer, model: Model, tmp_path: Path, name: object
) -> None:
    (tmp_path / "mine").mkdir()
    content = hub.repositories[REPOSITORY] / "model.safetensors"
    entry = {
        "name": name, "url": f"{HUB}{REPOSITORY}/resolve/{COMMIT}/model.safetensors",
        "bytes": len(CONTENT), "sha256": hashlib.sha256(content.read_bytes()).hexdigest(),
    }  # fmt: skip
    (tmp_path / "mine" / "hub.json").write_text(json.dumps([entry]))
    with pytest.raises(WeightsError, match=r"hub.json.* is damaged: remove it"):
        download(model, tmp_path, hub=Hub(hub.url))
    assert hub.asked == []


def test_a_repository_of_another_kind_costs_no_gigabytes(
    hub: HubServer, model: Model, tmp_path: Path
) -> None:
    (hub.repositories[REPOSITORY] / "config.json").write_text('{"model_type": "owlv2"}')
    with pytest.raises(WeightsError, match="my-dino holds a model of type owlv2"):
        download(model, tmp_path, hub=Hub(hub.url))
    assert not any("safetensors" in path for path, _ in hub.asked)


def test_pickled_weights_are_not_fetched(hub: HubServer, model: Model, tmp_path: Path) -> None:
    (hub.repositories[REPOSITORY] / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no config.json and safetensors at main"):
        download(model, tmp_path, hub=Hub(hub.url))


# Who asks


def test_a_gated_repository_says_what_to_do(hub: HubServer, model: Model, tmp_path: Path) -> None:
    hub.gated[REPOSITORY] = "hf_right"
    for token in (None, "hf_wrong"):
        with pytest.raises(WeightsError, match=r"people read it whom it knows.* HF_TOKEN_FILE"):
            download(model, tmp_path, hub=Hub(hub.url, token))
    hub.asked.clear()
    download(model, tmp_path, hub=Hub(hub.url, "hf_right"))
    stored = f"/store/{REPOSITORY}/model.safetensors"
    assert dict(hub.asked)[stored] is None, "the token must not leave the hub"
    assert {token for path, token in hub.asked if path != stored} == {"hf_right"}


def test_the_token_goes_to_the_hub_alone() -> None:
    hub = Hub("https://mirror.example/hf/", "hf_secret")
    ours = hub.address(f"{HUB}a/b/resolve/{COMMIT}/config.json")
    assert ours == f"https://mirror.example/hf/a/b/resolve/{COMMIT}/config.json"
    assert hub.headers(ours) == {"Authorization": "Bearer hf_secret"}
    for other in ("https://github.com/a", "http://mirror.example/a", "https://mirror.example.com"):
        assert hub.headers(other) == {}
        assert hub.address(other) == other


@pytest.mark.parametrize(
    "token", ["hf_se\ncret", "hf_se cret", "hf_secr\u00e9t", "hf_se\u20accret"]
)
def test_a_token_that_cannot_be_sent_is_not_repeated(
    hub: HubServer, model: Model, tmp_path: Path, token: str
) -> None:
    with pytest.raises(WeightsError, match="HF_TOKEN has characters that no token") as raised:
        download(model, tmp_path, hub=Hub(hub.url, token))
    assert "hf_se" not in str(raised.value)
    assert hub.asked == []


def test_a_line_end_after_the_token_is_none_of_it(
    hub: HubServer, model: Model, tmp_path: Path
) -> None:
    hub.gated[REPOSITORY] = "hf_right"
    download(model, tmp_path, hub=Hub(hub.url, " hf_right\r\n"))
    check_present([model], tmp_path)


def test_terms_are_named_and_must_be_accepted(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sam3 = DETECTORS["sam3"]
    with pytest.raises(WeightsError, match="ACCEPT_LICENCES=sam3 if you accept them"):
        download(sam3, tmp_path, hub=Hub(hub.url, "hf_right"))
    said = capsys.readouterr().out
    assert "SAM License" in said
    assert "military" in said
    assert "https://" in said
    assert hub.asked == []
    assert list(tmp_path.glob("sam3*")) == []


# The command


@pytest.fixture
def environ(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HF_ENDPOINT": hub.url, "MODEL_DIR": str(tmp_path / "models"), "SEGMENTER": "none",
        "DETECTOR": f"hub:{REPOSITORY}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environ")
def test_weights_fetches_a_repository_by_name(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "token"
    secret.write_text("hf_right\n")
    hub.gated[REPOSITORY] = "hf_right"
    monkeypatch.setenv("HF_TOKEN_FILE", str(secret))
    assert main(["--no-export"], waits=NO_WAITS) == 0
    assert detector(f"hub:{REPOSITORY}", tmp_path / "models").engine == "transformers"
    assert main(["--check"]) == 0


@pytest.mark.usefixtures("environ")
def test_weights_without_the_hub_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", closed_address())
    assert main(["--no-export"], waits=NO_WAITS) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("http://127.0.0.1")
    assert line.endswith("cannot be reached, or cut the connection.")


@pytest.mark.usefixtures("environ")
def test_weights_pin_prints_lines_for_the_catalog(
    hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--pin"], waits=NO_WAITS) == 0
    files = eval(
        capsys.readouterr().out.partition("files=")[2].rstrip().removesuffix(","),
        {"ModelFile": ModelFile, "HUB": catalog.HUB},
    )
    assert [file.name for file in files] == ["config.json", "model.safetensors"]
    assert files[1].sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert files[1].url == f"{HUB}{REPOSITORY}/resolve/{COMMIT}/model.safetensors"
    # No gigabytes are needed for that.
    assert not any(path.endswith("safetensors") for path, _ in hub.asked)


@pytest.mark.usefixtures("environ")
def test_weights_for_an_image_refuses_what_has_terms(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTOR", "sam3")
    monkeypatch.setenv("ACCEPT_LICENCES", "sam3")
    assert main(["--for-image"], waits=NO_WAITS) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("sam3 has terms of its own")
    assert "WEIGHTS=none" in line
