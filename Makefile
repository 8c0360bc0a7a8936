# Everything is installed from the locked files with hashes into .venv, once; after that no target needs a network.

# Debian's own interpreter is built with profile-guided optimisation and half as fast again as one from plain sources.
PYTHON ?= $(or $(shell for python in /usr/bin/python3 python3; do \
    "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
    echo "$$python" && break; done),python3)
LOCK ?= requirements-dev.lock
DATA ?= ./data
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run venv test lint peers bench soak lock clean FORCE
# What the caller's shell imports from elsewhere must not shadow what is locked here.
unexport PYTHONHOME PYTHONPATH

help: ## say what each target does
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 15

run: venv ## start the demonstration ISP in the foreground, data in ./data (DATA=DIR, ARGS="more options")
	@exec $(BIN)/caudal serve --demo --data "$(DATA)" $(ARGS)

venv: $(STAMP) ## prepare .venv and nothing else (LOCK=requirements.lock: without the tools of development)
	@:

test: venv peers lint ## check the sources, then run the whole test suite (ARGS="options of pytest": these alone)
ifeq ($(strip $(ARGS)),)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/system tests/integration tests/unit tests/wire
else
	@$(BIN)/python -m pytest $(ARGS)
endif

lint: venv ## ruff, mypy and the layering of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

peers: ## install the Debian packages that the tests use as peers, or say what will be skipped
	@.ci/peers

bench: venv ## measure against FreeRADIUS on this machine (ARGS="options of bench/run.py")
	@exec $(BIN)/python -m bench.run $(ARGS)

soak: venv peers ## the long forms of the system tests, and properties drawn anew: minutes to hours (ARGS="options of pytest")
	@CAUDAL_SOAK=1 $(BIN)/python -m pytest tests/system -m soak --timeout=0 $(ARGS)
ifeq ($(strip $(ARGS)),)
	@CAUDAL_SOAK=1 $(BIN)/python -m pytest -n 2 tests/unit tests/integration -m hypothesis --timeout=0
endif

lock: ## write both lock files again from setup.cfg (ARGS=--upgrade: with the newest versions)
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv==$(UV_VERSION)
	$(call compile,requirements.lock,)
	$(call compile,requirements-dev.lock,--extra dev --constraints requirements.lock)

clean: ## remove what was installed and cached; ./data stays
	rm -rf $(VENV) build caudal.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './data/*' -prune -exec rm -rf {} +

define compile
build/lock/bin/uv pip compile setup.cfg --extra build $(2) --universal --python-version 3.11 --generate-hashes \
    --no-config --quiet --custom-compile-command "make lock" --output-file $(1) $(ARGS)
endef

# The scripts in an environment name its folder: one that was moved, copied or left half-made starts afresh.
ifneq ($(file <$(STAMP)),$(CURDIR) $(LOCK))
$(STAMP): FORCE
CLEAR := --clear
endif

$(STAMP): $(LOCK) setup.cfg pyproject.toml
	@command -v $(PYTHON) >/dev/null \
	    || { echo "caudal: there is no $(PYTHON) here; do: apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "caudal: Python 3.11 or newer is needed and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	              "name another one: make venv PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	    || { echo "caudal: this Python cannot make environments; do: apt install python3-venv" >&2; exit 1; }
	@echo "caudal: installing $$(grep -c '==' $(LOCK)) locked packages into $(VENV)"
	@rm -f $(STAMP)
	@$(PYTHON) -m venv $(CLEAR) $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@printf '%s %s\n' "$(CURDIR)" "$(LOCK)" >$(STAMP)
