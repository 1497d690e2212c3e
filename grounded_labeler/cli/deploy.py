"""Put the models on the Ray cluster at RAY_ADDRESS.

The settings name the models. They stay there until `serve shutdown`, which is Ray's own command.
A service with the same RAY_ADDRESS uses them instead of loading its own.
"""

import os
import sys
from collections.abc import Sequence

from grounded_labeler.errors import GroundedLabelerError, SettingsError
from grounded_labeler.inference.loader import check_ray
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Deploy the models on the cluster at RAY_ADDRESS; returns the exit code."""
    parser = parser_of("deploy", __doc__ or "")
    parser.add_argument(
        "--min-replicas", type=int, default=1, help="fewest replicas kept running (default: 1)"
    )
    parser.add_argument(
        "--max-replicas", type=int, default=1, help="most replicas, started under load (default: 1)"
    )
    parser.add_argument(
        "--cpus", type=int, default=1, help="CPU cores of each replica (default: 1)"
    )
    parser.add_argument(
        "--gpus",
        type=float,
        default=0.0,
        help="GPUs of each replica; two replicas share one with 0.5 (default: 0)",
    )
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
