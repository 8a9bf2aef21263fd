# Everything goes through the virtual environment in .venv; nothing but Python 3.11, make and a C toolchain is needed.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python that is new enough; `make PYTHON=… run` names another. Looked for before .venv comes into the PATH.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$python >/dev/null 2>&1 && \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && command -v $$python && break; \
	done || echo python3)
endif
export PYTHON
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Copies of what was installed: the lock of the packages, and what says how our own is called.
# Where it was made: an environment that was copied or moved with its clone still runs the code of the old place.
PLACE_STAMP := $(VENV)/made-in.txt
LOCK_STAMP := $(VENV)/installed-requirements.txt
PROJECT_STAMP := $(VENV)/installed-pyproject.toml
PIP := $(BIN)/python -m pip --require-virtualenv --disable-pip-version-check install
FAILED := { $(PYTHON) stack/preflight.py --after-failed-install; exit 1; }
PYTEST_ARGUMENTS ?=
# Each worker starts databases and a stack of its own, of 700 MB. `TEST_WORKERS=0` runs the tests in one process.
TEST_WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

.PHONY: run
run: venv ## Install, start everything, show the logs; Ctrl-C stops everything
	@$(BIN)/vyris run

.PHONY: up
up: venv ## Install and start everything in the background
	@$(BIN)/vyris up

.PHONY: down
down: venv ## Stop what `make up` started
	@$(BIN)/vyris down

.PHONY: test
test: venv ## Run the tests (PYTEST_ARGUMENTS="-k name" chooses)
	@$(PYTEST) $(PYTEST_ARGUMENTS)

.PHONY: check
check: venv ## Check format, style, types and the quick unit tests in less than a minute
	@$(MAKE) --no-print-directory -j --output-sync=target check-style check-types check-units

.PHONY: check-style check-types check-imports check-units
check-style: venv
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

check-types: venv
	@$(BIN)/mypy

check-imports: venv
	@$(BIN)/lint-imports

check-units: venv
	@$(PYTEST) -q tests/unit -m "not slow and not alone" --hypothesis-profile quick $(PYTEST_ARGUMENTS)

.PHONY: test-browser
test-browser: venv ## Open the pages in a headless Chromium, which has to be installed
	@VYRIS_BROWSER=required $(BIN)/python -m pytest tests/browser tests/acceptance/draw/test_judges.py $(PYTEST_ARGUMENTS)

.PHONY: test-peers
test-peers: venv ## Let other engines judge our passes (Node) and draws (Go)
	@command -v npm >/dev/null || { echo "Node is not installed: install Node 20 or newer with npm, then try again."; exit 1; }
	@npm ci --prefix tests/peers/wallet --no-audit --no-fund --silent
	@command -v go >/dev/null || { echo "Go is not installed: install Go 1.26 or newer, then try again."; exit 1; }
	@cd tests/peers/draw && go mod download
	@$(BIN)/python -m pytest tests/acceptance/wallet/test_second_engine.py \
		tests/integration/draw_verifier/test_second_judge.py \
		tests/acceptance/draw/test_judges.py $(PYTEST_ARGUMENTS)

# What a caller's address, a session or a connection means depends on what stands between; everything else does not.
THROUGH_GATEWAY := tests/acceptance/mint tests/acceptance/encounter tests/acceptance/reforge tests/acceptance/receipts \
	tests/acceptance/wallet/test_passes_through_the_gateway.py tests/acceptance/user_tokens tests/acceptance/client \
	tests/acceptance/holds/test_holds.py tests/acceptance/openapi
THROUGH_POOLER := tests/acceptance/mint tests/acceptance/encounter tests/acceptance/reforge tests/acceptance/holds/test_holds.py \
	tests/acceptance/wallet/test_passes_through_the_gateway.py
.PHONY: test-neighbours
test-neighbours: venv ## Run acceptance tests behind nginx, HAProxy and PgBouncer, which have to be installed; ten minutes
	@VYRIS_NEIGHBOURS=required $(BIN)/python -m pytest tests/neighbours $(PYTEST_ARGUMENTS)
	@for each in nginx haproxy; do \
		VYRIS_NEIGHBOURS=required $(BIN)/python -m pytest --through $$each $(THROUGH_GATEWAY) $(PYTEST_ARGUMENTS) || exit 1; done
	@VYRIS_NEIGHBOURS=required $(BIN)/python -m pytest --through pgbouncer $(THROUGH_POOLER) $(PYTEST_ARGUMENTS)

.PHONY: images
images: venv ## Build both images with buildah, as root, without a registry, and their bills of materials; three minutes
	@deploy/images/build
	@mkdir -p build
	@for image in services gateway; do \
		$(BIN)/python -m deploy.bill_of_materials localhost/vyris-$$image build/vyris-$$image.cdx.json || exit 1; done

.PHONY: test-images
test-images: venv ## Run acceptance tests against both images, read-only and without rights; four minutes
	@command -v podman >/dev/null && command -v runc >/dev/null || \
		{ echo "podman and runc are not installed: apt-get install --no-install-recommends podman runc"; exit 1; }
	@podman image exists localhost/vyris-services && podman image exists localhost/vyris-gateway || \
		{ echo "The images are not built: make images"; exit 1; }
	@$(BIN)/python -m pytest --through images tests/images tests/acceptance/mint/test_contract.py tests/acceptance/mint/test_enrolment.py \
		tests/acceptance/mint/test_selling_out.py::test_3000_receipts_mint_exactly_500_memberships tests/acceptance/encounter \
		tests/acceptance/reforge/test_journey.py tests/acceptance/wallet/test_passes_through_the_gateway.py $(PYTEST_ARGUMENTS)

# An API server, from its published Go module: far bigger than the project, so it is kept outside of the checkout.
KUBE_APISERVER := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vyris/kube-apiserver
.PHONY: test-kubernetes
test-kubernetes: venv ## Apply the manifests to a real API server; the first time, many minutes to build it
	@command -v etcd >/dev/null || { echo "etcd is not installed: apt-get install --no-install-recommends etcd-server"; exit 1; }
	@command -v go >/dev/null || { echo "Go is not installed: install Go 1.24 or newer, then try again."; exit 1; }
	@cd tests/kubernetes/apiserver && go build -buildvcs=false -trimpath -ldflags "-s -w" -o $(KUBE_APISERVER) .
	@KUBE_APISERVER=$(KUBE_APISERVER) $(BIN)/python -m pytest tests/kubernetes $(PYTEST_ARGUMENTS)

.PHONY: lint
lint: check-style check-types check-imports ## Check style, types, imports and the protos
	@$(BIN)/python protos/generate.py --lint

.PHONY: protos
protos: venv ## Generate what comes from the protos: code, the OpenAPI document, the pages
	@$(BIN)/python protos/generate.py
	@$(BIN)/python -m gateway.pages

# A C compiler for WebAssembly, far bigger than the project; the same version makes the same bytes.
COMPILER := .venv-zig
.PHONY: wasm
wasm: ## Compile the gateway's filter that counts connections and streams by address (needs the network)
	@test -x $(COMPILER)/bin/python || $(PYTHON) -m venv $(COMPILER)
	@$(COMPILER)/bin/pip install --quiet --disable-pip-version-check ziglang==0.17.1
	@$(COMPILER)/bin/python -m ziglang cc -target wasm32-freestanding -mcpu=mvp -Os -nostdlib -Wall -Wextra -Werror \
		-Wl,--no-entry -Wl,--strip-all -o gateway/wasm/address_limits.wasm gateway/wasm/address_limits.c
	@chmod 644 gateway/wasm/address_limits.wasm

.PHONY: settings
settings: venv ## Write .env.example and docs/settings.md from the settings
	@$(BIN)/python -m cli.settings_reference

.PHONY: verify
verify: venv ## Check that generated files are what their generators make
	@$(BIN)/python protos/generate.py --check
	@$(BIN)/python -m gateway.pages --check
	@$(BIN)/python -m cli.settings_reference --check
	@$(BIN)/python -m deploy.observability.dashboard --check
	@$(BIN)/python -m tools.synchronous_client --check

.PHONY: fuzz-document
fuzz-document: venv ## Send each operation 100 requests by chance, and check that the document describes the answers
	@EXAMPLES=100 $(BIN)/python -m pytest tests/acceptance/openapi/test_every_answer_is_described.py $(PYTEST_ARGUMENTS)

.PHONY: bench
bench: venv ## Measure the suite beside Node, Go and its own ceiling, half an hour or more
	@$(BIN)/python -m tests.bench

.PHONY: bench-full
bench-full: venv ## Measure how cost grows, and a soak of half an hour; takes about an hour
	@$(BIN)/python -m tests.bench --full

.PHONY: bench-fair
bench-fair: venv ## Measure refusals, mints and polls of drops that sell by hold, two minutes
	@$(BIN)/python -m tests.bench --fair

.PHONY: bench-disk
bench-disk: venv ## Measure what a million receipts leave on the disk, two minutes
	@$(BIN)/python -m tests.bench.disk

.PHONY: hold-trials
hold-trials: venv ## Let crowds of thousands take holds over JSON and gRPC, three minutes
	@$(BIN)/python -m tests.hold_trials

.PHONY: rolling
rolling: venv ## Replace every process under 500 mints a second and check that no caller notices, two minutes
	@$(BIN)/python -m tests.rolling

.PHONY: quiet-streams
quiet-streams: venv ## Hold streams on which nothing happens, directly and through the gateway, six minutes
	@$(BIN)/python -m tests.quiet_streams

.PHONY: draw-night
draw-night: venv ## Draw among 100,000 entries through the gateway and measure it, six minutes
	@$(BIN)/python -m tests.bench --night --only draw

.PHONY: bench-night
bench-night: venv ## Let 100,000 people come for 999 numbers, sold directly, by hold and by draw, fifteen minutes
	@$(BIN)/python -m tests.bench --night

.PHONY: chaos
chaos: venv ## Break things under load and check that nothing is lost
	@$(BIN)/python -m tests.chaos

.PHONY: audit
audit: venv ## Ask for known holes in the locked packages (needs the network)
	@$(BIN)/pip-audit --require-hashes --disable-pip --strict --progress-spinner off -r requirements.txt
	@$(BIN)/pip-audit --require-hashes --disable-pip --strict --progress-spinner off -r deploy/images/gateway-requirements.txt

# Far bigger than the project, and bound to other versions of its packages.
SCANNER := .venv-checkov
.PHONY: scan
scan: venv ## Scan the manifests with checkov, in an environment of its own (needs the network)
	@test -x $(SCANNER)/bin/checkov || { $(PYTHON) -m venv $(SCANNER) && $(SCANNER)/bin/pip install --quiet checkov==3.3.30; }
	@PATH="$(CURDIR)/$(SCANNER)/bin:$(PATH)" $(BIN)/python -m pytest tests/deploy -k scanner $(PYTEST_ARGUMENTS)

.PHONY: clean
clean: ## Remove the virtual environment and caches; the state folder stays
	@rm -rf $(VENV) $(SCANNER) $(COMPILER) .install.lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

IS_INSTALLED := test "$$(cat $(PLACE_STAMP) 2>/dev/null)" = "$(CURDIR)" && cmp -s requirements-dev.txt $(LOCK_STAMP) \
	&& cmp -s pyproject.toml $(PROJECT_STAMP)

.PHONY: venv
venv:
	@$(IS_INSTALLED) || $(MAKE) --no-print-directory fit
	@$(IS_INSTALLED) || $(PYTHON) stack/install_alone.py $(MAKE) --no-print-directory install

.PHONY: fit
fit:
	@command -v $(PYTHON) >/dev/null || { echo "vyris: there is no $(PYTHON): install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) stack/preflight.py

# A second `make` that waited for the first finds everything done.
.PHONY: install
install:
	@! test -e $(LOCK_STAMP) || test "$$(cat $(PLACE_STAMP) 2>/dev/null)" = "$(CURDIR)" || rm -rf $(VENV)
	@cmp -s requirements-dev.txt $(LOCK_STAMP) || $(MAKE) --no-print-directory install-packages
	@cmp -s pyproject.toml $(PROJECT_STAMP) || $(MAKE) --no-print-directory install-project

.PHONY: install-packages
install-packages:
	@echo "Installing into $(VENV), which takes a minute or two the first time …"
	@rm -f $(LOCK_STAMP) $(PROJECT_STAMP)
	@{ $(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV); } || $(FAILED)
	@$(PIP) --quiet --no-compile --require-hashes -r requirements-dev.txt || $(FAILED)
	@# xds-protos brings an older copy of OpenTelemetry's messages to the same place; whichever came last has won.
	@sed -n '/^opentelemetry-proto==/,/[^\\]$$/p' requirements-dev.txt > $(VENV)/opentelemetry-proto.txt
	@$(PIP) --quiet --no-compile --require-hashes --no-deps --force-reinstall -r $(VENV)/opentelemetry-proto.txt || $(FAILED)
	@# On all cores; pip takes one. Templates that are no Python are skipped.
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@cp requirements-dev.txt $(LOCK_STAMP)

.PHONY: install-project
install-project:
	@# By its folder in a .pth: else a script beside a clone called vyris/ would take that clone for the package.
	@$(PIP) -qq --no-deps --no-build-isolation --config-settings editable_mode=compat -e . || $(FAILED)
	@printf '%s\n' "$(CURDIR)" > $(PLACE_STAMP)
	@cp pyproject.toml $(PROJECT_STAMP)
