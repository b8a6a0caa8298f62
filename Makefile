# Everything a newcomer needs: `make run` serves, `make test` tests. Nothing has to be installed beforehand but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
ARGS ?=

.PHONY: run test chaos check types format bench lock clean

run: $(VENV)/.run
	$(BIN)/antiphon serve $(ARGS)

# Tests mostly wait, so there are more processes than cores. Each file stays in one of them; WORKERS=0 is one after the other.
WORKERS ?= 4
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder $(ARGS)

# Faults at full size; ARGS="--only kill_any" plays one kind. Writes its table to docs/chaos.md.
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos --full --table docs/chaos.md $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) types

# mypy and import-linter understand no module that is a package (antiphon.py): they see it as in a wheel.
NAMES := $(VENV)/names
types: $(NAMES)
	cd $(NAMES) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml
	cd $(NAMES) && $(abspath $(BIN))/lint-imports --config $(CURDIR)/pyproject.toml

$(NAMES):
	mkdir -p $@/antiphon
	ln -s ../../../antiphon.py $@/antiphon/__init__.py
	ln -s $(addprefix ../../../,api data orchestrator rag) $@/antiphon

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ARGS)

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Antiphon needs Python 3.11 or newer: make PYTHON=python3.11 run")'
	$(PYTHON) -m venv $(VENV)
	touch $@

# The lock files hold every version and hash; the package itself is installed in place.
$(VENV)/.run: $(VENV)/.python requirements.lock pyproject.toml
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) install --require-hashes -r requirements-dev.lock
	touch $@

# Needs the network. The runtime lock is constrained by the development lock, so that both agree.
LOCK := $(BIN)/uv pip compile -q pyproject.toml --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11
lock: $(VENV)/.dev
	$(PIP) install uv
	$(LOCK) --group build --group dev -o requirements-dev.lock
	$(LOCK) --group build -c requirements-dev.lock -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
