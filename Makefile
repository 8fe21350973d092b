# Everything a newcomer needs; each target makes its own virtual environment first.
#
#   make demo                       a whole federation on this machine, two workloads, one report
#   make test TESTS=tests/sealed    a part of the suite
#   make bench BENCH="--quick"      options of the benchmarks
#   make PYTHON=python3.13 ...      another interpreter
#   make VENV=/path/to/venv ...     another environment

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= $(shell ./.ci/find-python)
TESTS ?=
BENCH ?=
# Tests with real processes wait about as much as they compute: three runners keep two cores busy.
JOBS ?= 3

BIN := $(VENV)/bin
# Hundreds of processes load our modules, and write none down where PYTHONDONTWRITEBYTECODE is set, as
# in many containers: a worker then takes twice as long to start.
COMPILE := $(BIN)/python -m compileall -q core gateway adapters proto plugins/fedgate-plain/src
STAMP := $(VENV)/.fedgate-installed
EXTRAS := flower,flare,dev
# Files whose change asks for a new installation; everything else is picked up by editable installs.
MANIFESTS := pyproject.toml constraints.txt plugins/fedgate-plain/pyproject.toml

.PHONY: help install demo test torture lint format bench docs proto clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: $(STAMP) ## a virtual environment with everything installed (the others do it when needed)

$(STAMP): $(MANIFESTS)
	@test -n "$(PYTHON)" || { echo "fedgate needs Python 3.11, 3.12 or 3.13: none was found; name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@test -x $(BIN)/python || { echo "creating $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv "$(VENV)" || { rm -rf "$(VENV)"; echo "could not create a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; }
	@echo "installing fedgate (once; takes a minute or two)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input \
	    -c constraints.txt -e '.[$(EXTRAS)]' -e plugins/fedgate-plain
	@touch $@

demo: $(STAMP) ## a federation on loopback runs a Flower app and a FLARE job; nothing is left running
	@$(COMPILE)
	@$(BIN)/python examples/demo.py

test: $(STAMP) ## the whole test suite
	@$(COMPILE)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

torture: $(STAMP) ## minutes of load, kills, stalls and damaged input
	@$(COMPILE)
	@$(BIN)/python -m pytest -m torture $(TESTS)

lint: $(STAMP) ## style, format, types (strict), and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff fix and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## native Flower and FLARE beside ours, into benchmarks/results/
	@$(COMPILE)
	@$(BIN)/python -m benchmarks $(BENCH)

docs: $(STAMP) ## regenerate the reference pages that are made from the code
	@$(BIN)/python docs/generate.py

proto: $(STAMP) ## regenerate the protobuf modules
	@PYTHON="$(abspath $(BIN)/python)" proto/generate.sh

clean: ## remove what the targets above made
	rm -rf $(VENV) .demo dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
