"""Says what this machine computes with, in a process of its own that then ends.

A driver of GPUs that a process has used is lost to the processes that it forks, so a server that
forks its workers does not ask here itself.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec

from grounded_labeler.models.runtime.device import pick_device


@dataclass(frozen=True)
class Machine:
    """`device` is "cpu" or "cuda", as `pick_device` finds it.

    `has_torch` tells whether PyTorch is installed, `has_bf16` whether OpenVINO computes in bf16
    on this CPU.
    """

    device: str
    has_torch: bool
    has_bf16: bool


def machine() -> Machine:
    """Ask in another process; raises RuntimeError with the last line it said where that fails."""
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {_RUN}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise RuntimeError((ran.stderr.strip().splitlines() or [f"code {ran.returncode}"])[-1])
    return Machine(**json.loads(ran.stdout.splitlines()[-1]))


_RUN = "from grounded_labeler.models.runtime.probe import tell; tell()"


def tell() -> None:
    """Print what `machine` returns, as JSON."""
    import openvino  # noqa: PLC0415 - half a second, and threads that a server must not fork

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    here = Machine(pick_device(), find_spec("torch") is not None, "BF16" in capabilities)
    sys.stdout.write(json.dumps(asdict(here)) + "\n")
