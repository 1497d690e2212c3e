# DEVICE: cpu, or cuda for NVIDIA. WEIGHTS=none leaves the weights to a volume: an image for CPUs has
# no PyTorch, so one made with `--target maker` fetches them there and makes their graphs.
# EXTRAS=ray adds Ray, EXTRAS=heic what HEIC images need, EXTRAS="ray heic" both.
# VERIFY=off does not compare the models with published results, for which it fetches an image.
ARG DEVICE=cpu

FROM python:3.11-slim-bookworm AS python

# ---- The packages of the service, in a virtual environment that has no pip of its own: on a CPU
# it computes with graphs alone.
FROM python AS packages
ARG DEVICE
ARG EXTRAS=
SHELL ["/bin/bash", "-o", "pipefail", "-euxc"]
WORKDIR /build
COPY requirements.txt requirements-cpu.txt requirements-otel.txt requirements-ray.txt \
     requirements-heic.txt ./
RUN --mount=type=cache,target=/root/.cache/pip <<'INSTALL'
python -m venv --without-pip /opt/venv
install() { python -m pip --python /opt/venv/bin/python install --no-deps "$@"; }
case "$DEVICE" in
  # Triton compiles kernels, which nothing here asks for: 1 GB.
  cuda) grep -vE '^triton==' requirements.txt > wanted.txt ;;
  cpu) cp requirements-cpu.txt wanted.txt ;;
  *) echo "DEVICE must be cpu or cuda, not $DEVICE" >&2; exit 1 ;;
esac
# What sends traces is 6 MB, and is imported only where these are switched on.
install -r wanted.txt
install -r requirements-otel.txt
for extra in $EXTRAS; do install -r "requirements-$extra.txt"; done
# What compiling against the packages would need.
site=/opt/venv/lib/python3.11/site-packages
if [ "$DEVICE" = cuda ]; then
  rm -rf "$site"/torch/include "$site"/torch/share/cmake "$site"/nvidia/*/include
  find "$site"/torch/bin -type f ! -name torch_shm_manager -delete
fi
find "$site" -name '*.a' -delete
INSTALL

# ---- These, and what makes graphs: PyTorch.
FROM packages AS all-packages
ARG DEVICE
# Where PyTorch publishes its builds without CUDA, 4 GB smaller.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip <<'INSTALL'
if [ "$DEVICE" = cpu ]; then
  install() { python -m pip --python /opt/venv/bin/python install --no-deps "$@"; }
  grep -E '^(torch|torchvision)==' requirements.txt > torch.txt
  grep -vE '^(torch|torchvision|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==' requirements.txt > others.txt
  install --index-url "$TORCH_INDEX" -r torch.txt
  install -r others.txt
fi
INSTALL

# ---- The weights, fetched again only when the catalog or the choice changes.
FROM python AS weights
ARG WEIGHTS=download
ARG DETECTOR=groundingdino-swint-ogc
ARG SEGMENTER
ARG USE_SAM
ARG USE_MOBILE_SAM
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
SHELL ["/bin/bash", "-o", "pipefail", "-euxc"]
WORKDIR /app
COPY grounded_labeler/__about__.py grounded_labeler/__init__.py grounded_labeler/__main__.py \
     grounded_labeler/_text.py \
     grounded_labeler/console.py grounded_labeler/errors.py grounded_labeler/interrupts.py \
     grounded_labeler/listen_address.py grounded_labeler/parsing.py \
     grounded_labeler/secret_files.py grounded_labeler/settings.py \
     grounded_labeler/settings_types.py grounded_labeler/
COPY grounded_labeler/weights grounded_labeler/weights
COPY grounded_labeler/cli/__init__.py grounded_labeler/cli/main.py \
     grounded_labeler/cli/weights.py grounded_labeler/cli/
COPY grounded_labeler/core/__init__.py grounded_labeler/core/tiling.py grounded_labeler/core/
COPY grounded_labeler/images/__init__.py grounded_labeler/images/ssrf.py grounded_labeler/images/
COPY grounded_labeler/prompts/__init__.py grounded_labeler/prompts/url.py grounded_labeler/prompts/
RUN --mount=from=packages,source=/opt/venv,target=/opt/venv \
    mkdir models; \
    case "$WEIGHTS" in \
      download) python -m grounded_labeler weights --no-export --for-image ;; \
      none) ;; \
      *) echo "WEIGHTS must be download or none, not $WEIGHTS" >&2; exit 1 ;; \
    esac

# ---- The models as graphs for CPUs, made again when the code changes, and compared with what was
# published of them; of the small models that come with the package always. The images of the
# comparison, and what was compiled for the CPU of the build, stay out of the image.
FROM weights AS graphs
ARG DEVICE
ARG VERIFY=
COPY grounded_labeler grounded_labeler
RUN --mount=from=all-packages,source=/opt/venv,target=/opt/venv \
    case "$WEIGHTS-$DEVICE-$VERIFY" in \
      download-cpu-*) python -m grounded_labeler weights ;; \
      download-cuda-off) ;; \
      download-cuda-*) python -m grounded_labeler verify ;; \
    esac; \
    if [ "$DEVICE" = cpu ]; then \
      python -m grounded_labeler weights --detector demo --segmenter demo; \
    fi; \
    mkdir -p models/openvino models/verify; \
    rm -rf models/verify/*.jpg models/openvino/*/compiled

# ---- The program, without its packages.
FROM python AS program
LABEL org.opencontainers.image.title="grounded-labeler" \
      org.opencontainers.image.description="Label images in Label Studio by typing what is in them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.2.0"
ARG DETECTOR=groundingdino-swint-ogc
ARG SEGMENTER
ARG USE_SAM
ARG USE_MOBILE_SAM
# What pip was good for is done.
RUN pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip && \
    install --directory --owner=10001 --group=0 --mode=0777 /data
WORKDIR /app
COPY LICENSE _wsgi.py gunicorn.conf.py model.py ./
COPY grounded_labeler grounded_labeler
RUN printf '%s\n' '#!/opt/venv/bin/python' 'from grounded_labeler.cli.main import main' 'main()' \
      > /usr/local/bin/grounded-labeler && chmod 0755 /usr/local/bin/grounded-labeler
# Nothing is asked of a model hub. What must be written goes to /data, and to memory: so the
# root file system can be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/app \
    HF_HUB_OFFLINE=1 \
    HOME=/dev/shm \
    TMPDIR=/dev/shm \
    RAY_TMPDIR=/dev/shm \
    DETECTOR=$DETECTOR \
    SEGMENTER=$SEGMENTER \
    USE_SAM=$USE_SAM \
    USE_MOBILE_SAM=$USE_MOBILE_SAM \
    DATA_DIR=/data
# Any user and group will do: a new volume takes over that all may write to /data.
USER 10001:0
VOLUME /data

# ---- For CPUs and WEIGHTS=none: fetches the weights and makes their graphs, on a volume.
FROM program AS maker
COPY --link --from=all-packages /opt/venv /opt/venv
ENV MODEL_DIR=/data/models
CMD ["grounded-labeler", "weights"]

# ---- What runs.
FROM program AS service
COPY --link --from=packages /opt/venv /opt/venv
COPY --link --from=weights /app/models models
COPY --link --from=graphs /app/models/openvino models/openvino
COPY --link --from=graphs /app/models/verify models/verify
EXPOSE 9090
HEALTHCHECK --interval=15s --timeout=5s --start-period=5m --start-interval=2s \
    CMD ["grounded-labeler", "healthcheck"]
CMD ["grounded-labeler", "serve"]
