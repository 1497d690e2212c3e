"""The workflows of a public forge, and the scripts in .ci/ that they run and any machine can."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from grounded_labeler.__about__ import __version__

ROOT = Path(__file__).parents[1]
CI = ROOT / ".ci"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# Their findings do not depend on what else this machine has, nor on a network.
CHECKERS = {
    "actionlint": ("-shellcheck=", "-pyflakes="),
    "zizmor": ("--offline", "--no-progress", "--no-config", "--persona=pedantic"),
}
# A title that anyone may choose becomes part of a command.
INJECTION = """
name: Injected
on: {issues: {types: [opened]}}
jobs:
  greet:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "${{ github.event.issue.title }}"
"""


def found_by(checker: str, *files: Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name(checker)
    program = str(beside) if beside.is_file() else shutil.which(checker)
    if program is None:
        pytest.skip(f"{checker} is not on PATH: it does not check the workflows here")
    return subprocess.run(
        [program, *CHECKERS[checker], *files],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("checker", CHECKERS)
def test_checkers_find_nothing_in_the_workflows(checker: str) -> None:
    done = found_by(checker, *WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_checkers_find_what_is_wrong(checker: str, tmp_path: Path) -> None:
    wrong = tmp_path / ".github" / "workflows" / "wrong.yml"
    wrong.parent.mkdir(parents=True)
    wrong.write_text(INJECTION)
    done = found_by(checker, wrong)
    assert done.returncode != 0
    assert "github.event.issue.title" in done.stdout


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield f"{path.name}: {name}", job


def test_every_action_is_pinned_to_a_commit_beside_its_version() -> None:
    text = "\n".join(path.read_text() for path in WORKFLOWS)
    used = re.findall(r"uses: (?!\./)(.+)", text)
    assert len(used) > 10
    pinned = r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+"
    assert [one for one in used if not re.fullmatch(pinned, one)] == []
    # An action is of one version everywhere.
    assert len(set(used)) == len({one.split("@")[0] for one in used})


def test_workflows_may_do_nothing_that_a_job_does_not_ask_for() -> None:
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["permissions"] == {}
        assert "pull_request_target" not in path.read_text()
    writes = {
        (name, scope)
        for name, job in jobs()
        for scope, access in job["permissions"].items()
        if access == "write"
    }
    assert writes == {
        ("images.yml: build", "packages"),
        ("images.yml: publish", "packages"),
        ("images.yml: publish", "id-token"),
        ("release.yml: images", "packages"),
        ("release.yml: images", "id-token"),
        ("release.yml: pypi", "id-token"),
        ("release.yml: release", "contents"),
        ("release.yml: release", "id-token"),
        ("release.yml: release", "attestations"),
    }


def test_no_expression_is_part_of_a_command() -> None:
    commands = [step["run"] for _, job in jobs() for step in job.get("steps", []) if "run" in step]
    assert len(commands) > 5
    assert [command for command in commands if "${{" in command] == []


def test_checkouts_leave_no_token_behind() -> None:
    checkouts = [
        step
        for _, job in jobs()
        for step in job.get("steps", [])
        if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert len(checkouts) > 4
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_the_forge_runs_what_any_machine_runs() -> None:
    calls = re.findall(r"^make (.+)$", (CI / "run").read_text(), re.M)
    words = [word for call in calls for word in shlex.split(call)]
    made = [word for word in words if not word.startswith("-") and "=" not in word]
    [job] = [job for name, job in jobs() if name == "ci.yml: run"]
    assert job["strategy"]["matrix"]["target"] == made
    scripts = set(re.findall(r"\.ci/(\w+)", "\n".join(path.read_text() for path in WORKFLOWS)))
    called = {path.name for path in CI.iterdir() if os.access(path, os.X_OK)}
    assert scripts - {"run"} <= called


def ran(script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CI / script, *arguments],
        cwd=ROOT, env={"PATH": os.environ["PATH"], **environ},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_notes_of_a_release_are_its_part_of_the_changelog() -> None:
    notes = ran("release_notes", __version__)
    assert notes.returncode == 0, notes.stderr
    changelog = (ROOT / "CHANGELOG.md").read_text()
    before, after = changelog.split(notes.stdout.strip())
    assert re.search(rf"\n## {re.escape(__version__)} \(\d{{4}}-\d\d-\d\d\)\n+$", before)
    assert after.strip() == "" or after.strip().startswith("## ")


@pytest.mark.parametrize("version", ["Unreleased", "0.1.9", "0.2"])
def test_what_is_not_released_has_no_notes(version: str) -> None:
    notes = ran("release_notes", version)
    assert (notes.returncode, notes.stdout) == (1, "")
    assert f"no section '## {version} " in notes.stderr


@pytest.mark.parametrize(("tag", "code"), [(f"v{__version__}", 0), ("v9.9.9", 1), ("0.2.0", 1)])
def test_a_tag_is_that_of_the_version(tag: str, code: int) -> None:
    assert ran("version").stdout.strip() == __version__
    assert ran("check_version", tag).returncode == code


DIGEST = "1f" * 32
# What buildx, imagetools and cosign are told; an image that has a name is inspected in vain.
FAKE = f"""#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$*" in
  # As buildx 0.29: a table unless JSON is asked for.
  *"--format {{{{json .Manifest.Digest}}}}"*) echo '"sha256:{DIGEST}"' ;;
  *--format*) printf 'Name: %s\nDigest: sha256:{DIGEST}\n' "$5" ;;
  "buildx imagetools inspect"*) exit "$PUBLISHED" ;;
esac
while [ $# -gt 0 ]; do
  if [ "$1" = --metadata-file ]; then
    printf '{{\\n  "containerimage.digest": "sha256:{DIGEST}"\\n}}' > "$2"
  fi
  shift
done
exit 0
"""


class Copy:
    """The scripts in a folder of their own, beside programs that write down what they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        shutil.copytree(CI, folder / ".ci")
        (folder / "grounded_labeler").mkdir()
        shutil.copy(ROOT / "grounded_labeler" / "__about__.py", folder / "grounded_labeler")
        (folder / "bin").mkdir()
        for name in ("docker", "cosign"):
            (folder / "bin" / name).write_text(FAKE)
            (folder / "bin" / name).chmod(0o755)

    def run(self, script: str, variant: str, **environ: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        told = {"PATH": path, "LOG": str(self.log), "PUBLISHED": "1", **environ}
        command = [str(self.folder / ".ci" / script), variant]
        return subprocess.run(
            command, env=told, capture_output=True, text=True, timeout=60, check=False
        )

    def commands(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_an_image_is_for_the_engine_unless_it_has_a_registry(copy: Copy) -> None:
    assert copy.run("build_image", "maker").returncode == 0
    [build] = copy.commands()
    assert build == (
        "docker buildx build --target maker --build-arg DEVICE=cpu --load "
        f"--tag grounded-labeler:{__version__}-maker ."
    )


@pytest.mark.parametrize(("variant", "device"), [("cpu", "cpu"), ("cuda", "cuda")])
def test_an_image_is_pushed_by_digest_with_its_sbom_and_provenance(
    copy: Copy, variant: str, device: str
) -> None:
    done = copy.run("build_image", variant, IMAGE="registry.example/labeler")
    assert done.returncode == 0, done.stderr
    build = copy.commands()[-1]
    assert f"--target service --build-arg DEVICE={device} " in build
    assert "--sbom=true --provenance=mode=max" in build
    assert "name=registry.example/labeler,push-by-digest=true" in build
    assert [path.name for path in (copy.folder / "digests" / variant).iterdir()] == [DIGEST]


def test_an_unknown_variant_is_refused(copy: Copy) -> None:
    done = copy.run("build_image", "tpu")
    assert (done.returncode, done.stderr) == (1, "A variant is cpu, cuda or maker, not tpu.\n")


def test_an_image_is_named_for_all_processors_and_signed_by_digest(copy: Copy) -> None:
    (copy.folder / "digests" / "cpu").mkdir(parents=True)
    for digest in ("aa", "bb"):
        (copy.folder / "digests" / "cpu" / digest).touch()
    done = copy.run("publish_image", "cpu", IMAGE="registry.example/labeler")
    assert done.returncode == 0, done.stderr
    name = f"registry.example/labeler:{__version__}-cpu"
    assert copy.commands()[1:] == [
        f"docker buildx imagetools create --tag {name} "
        "registry.example/labeler@sha256:aa registry.example/labeler@sha256:bb",
        f"docker buildx imagetools inspect --format {{{{json .Manifest.Digest}}}} {name}",
        f"cosign sign --yes --recursive registry.example/labeler@sha256:{DIGEST}",
    ]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "Set IMAGE"),
        ({"IMAGE": "registry.example/labeler"}, "digests/cpu has no digest"),
        ({"IMAGE": "registry.example/labeler", "PUBLISHED": "0"}, "is published already"),
    ],
)
def test_an_image_is_not_named_twice_nor_without_digests(
    copy: Copy, environ: dict[str, str], said: str
) -> None:
    done = copy.run("publish_image", "cpu", **environ)
    assert done.returncode != 0
    assert said in done.stderr
    assert not copy.log.exists() or not [one for one in copy.commands() if "create" in one]
