# Two commands matter: `make demo` shows it, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
MUTANTS := .venv-mutants
CLIENTS := .venv-clients
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test contract conformance torture mutants bench bench-peers format lock clean
help:
	@echo "make demo    see changes in a fake vendor account arrive as signed webhooks (Ctrl-C ends it)"
	@echo "make test    every check: format, lint, types, floors, tests"
	@echo "make contract  write the published schemas, the AsyncAPI document and the catalogue of events anew"
	@echo "make conformance  what every connector does, vendor by behaviour"
	@echo "make torture  the long run of the fault suite: a thousand kills and more; keeps its figures in docs/reliability.md"
	@echo "make mutants  how much of the code that must not be wrong the tests would notice if it were; ONLY=events/diff.py for one module"
	@echo "make bench   what it costs, each figure against a limit measured in the same run; under ten minutes"
	@echo "make bench-peers  the same job done by others, installed into .venv-peers"
	@echo "make format  put the code in the house format"
	@echo "make lock    resolve the dependencies anew"

demo: $(VENV)/.installed
	@$(BIN)/vendorwire demo

test: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest

contract: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.contract.publish

conformance: $(VENV)/.installed-dev
	@$(BIN)/pytest --conformance tests/connectors/test_conformance.py

torture: $(VENV)/.installed-dev
	@$(BIN)/pytest --torture -n 2 --timeout 3600 tests/faults

mutants: $(MUTANTS)/.installed
	@$(MUTANTS)/bin/python -m tests.mutants $(if $(ONLY),--only $(ONLY))

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks

bench-peers: $(VENV)/.installed-dev $(PEERS)/.installed
	@$(BIN)/python -m benchmarks --only peers

format: $(VENV)/.installed-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Vendorwire needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing the locked dependencies into $(VENV)"
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

$(PEERS)/.installed: benchmarks/requirements-peers.txt | $(VENV)/bin/python
	@echo "installing the rivals into $(PEERS)"
	@$(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

$(MUTANTS)/.installed: tests/requirements-mutants.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "installing what makes mutants into $(MUTANTS)"
	@$(BIN)/python -m venv $(MUTANTS)
	@$(MUTANTS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-dev.txt
	@$(MUTANTS)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

# The lock names hashes, never a registry.
RESOLVE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header
lock: $(VENV)/.installed
	@$(PIP) install uv
	@$(RESOLVE) --extra embedded --output-file requirements.txt pyproject.toml requirements.in
	@$(RESOLVE) --extra embedded --group dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml requirements.in
	@$(RESOLVE) --output-file helm/image/requirements.txt helm/image/requirements.in
	@$(RESOLVE) --output-file tests/contract/requirements.txt tests/contract/requirements.in

clean:
	@rm -rf $(VENV) $(PEERS) $(MUTANTS) $(CLIENTS) .npm-contract .mutants build dist *.egg-info
