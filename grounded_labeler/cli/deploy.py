"""Put the models on a Ray cluster: `python -m grounded_labeler.cli.deploy`.

They are those of the settings, and stay there until `serve shutdown`. A service that has the
same RAY_ADDRESS asks them instead of loading its own.
"""

if __name__ == "__main__":  # before the imports below, which take seconds
    from grounded_labeler.interrupts import run_command

    run_command("grounded_labeler.cli.deploy", "Stopped before the models were there.")

import argparse
import os
import sys
from collections.abc import Sequence

from grounded_labeler.errors import GroundedLabelerError, SettingsError
from grounded_labeler.inference.loader import check_ray
from grounded_labeler.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Deploy the models on the cluster at RAY_ADDRESS; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m grounded_labeler.cli.deploy", description=__doc__
    )
    parser.add_argument("--min-replicas", type=int, default=1, help="copies of the models")
    parser.add_argument("--max-replicas", type=int, default=1, help="when there is much to do")
    parser.add_argument("--cpus", type=int, default=1, help="cores of each replica")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of each replica, 0.5 is half")
    options = parser.parse_args(argv)
    try:
        settings = Settings.from_env(os.environ)
        check_ray("A deployment")
        if settings.ray_address is None:
            raise SettingsError(
                "RAY_ADDRESS must say where the cluster is: `ray start --head` starts one."
            )
        from grounded_labeler.inference import ray_deployment as cluster  # noqa: PLC0415 - Ray is an extra

        cluster.deploy(settings, cluster.ScalingConfig.model_validate(vars(options)))
    except (GroundedLabelerError, ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
