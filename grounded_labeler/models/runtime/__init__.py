"""What computes the parts of models."""

import sys

# OpenVINO's telemetry package reports every import and conversion to Google Analytics, without
# consent and from a forked process. OpenVINO works without the package.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
