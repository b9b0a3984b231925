# Every target is one line that calls a tool; anything longer is a script in tools/.

SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SOURCES := $(wildcard cifra cifra_jobs workers scheduler tests tools deploy benchmarks examples docs/conf.py)
PYTEST := $(BIN)/python -m pytest
TIERS := $(wildcard tests/unit tests/conformance tests/contract tests/integration tests/e2e)

.DEFAULT_GOAL := help
.PHONY: help run test setup lock fmt fmt-check lint types arch unit conformance contract integration \
	e2e check ci cov bench bench-smoke peer-suite matrix dev build house reference docs docs-serve docs-test pictures minimal-root clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock
	$(PYTHON) tools/bootstrap.py .venv requirements.lock

setup: ## Make or refresh .venv from requirements.lock, with the project installed editable
	$(PYTHON) tools/bootstrap.py .venv requirements.lock

run: $(READY) ## Run the main job: servers, workers of all queues, real work, a summary
	$(BIN)/python -m workers.demo

test: $(READY) fmt-check lint types arch ## Everything: static checks, then every test tier on private servers
	$(PYTEST) $(TIERS)

unit: $(READY) ## Unit tests: nothing outside the process
	$(PYTEST) tests/unit

conformance: $(READY) ## One suite over every broker and every store
	$(PYTEST) tests/conformance

contract: $(READY) ## What is promised, over memory and over servers
	$(PYTEST) tests/contract

integration: $(READY) ## Servers that are stopped, killed and stalled
	$(PYTEST) tests/integration

e2e: $(READY) ## The command line, as a user
	$(PYTEST) tests/e2e

check: fmt-check lint types arch unit ## Before every commit

ci: check test build ## What a change must pass

fmt: $(READY) ## Format the code and mend what ruff can
	$(BIN)/ruff format $(SOURCES) && $(BIN)/ruff check --fix-only --quiet $(SOURCES)

fmt-check: $(READY)
	$(BIN)/ruff format --check $(SOURCES)

lint: $(READY) ## ruff, spelling, declared dependencies, and whether TOML, YAML and JSON parse
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/deptry --no-ansi .
	$(BIN)/codespell $$(git ls-files -- '*.md' '*.py' '*.toml' '*.yaml' '*.lua')
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/python tools/tidy.py $$(git ls-files)

types: $(READY) ## mypy, strict
	$(BIN)/mypy $(SOURCES)

arch: $(READY) ## Imports only go down the floors
	$(BIN)/lint-imports --no-logo

cov: $(READY) ## Branch coverage of the unit and conformance tiers
	$(PYTEST) tests/unit tests/conformance --cov --cov-report=term-missing:skip-covered

bench: $(READY) ## Ours beside Dramatiq and Celery, on the same servers in the same run
	$(BIN)/python -m benchmarks

bench-smoke: $(READY) ## One small round of every benchmark
	$(BIN)/python -m benchmarks --smoke

peer-suite: $(READY) ## Dramatiq's own tests, on our broker, tasks and worker
	$(BIN)/python tools/peer_suite.py

matrix: $(READY) ## The tiers on other versions: make matrix ARGS="--python python3.13 --root /srv/trixie"
	$(BIN)/python tools/matrix.py $(ARGS)

dev: $(READY) ## Private servers, worker and API in one terminal
	$(BIN)/cifra dev

build: $(READY) ## Wheel and sdist in dist/, and a look into the wheel
	rm -rf build dist && $(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python tools/check_wheel.py dist/*.whl

house: $(READY) ## The size mirror: files, functions, folders
	$(BIN)/python tools/house.py cifra_jobs

reference: $(READY) ## Write the reference pages anew from the code
	$(BIN)/python -m tools.generate_reference

docs: $(READY) ## The documentation as HTML; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

docs-serve: docs ## Serve the documentation on 127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory docs/_build/html 8000

docs-test: $(READY) ## Run the examples inside the documentation
	$(BIN)/sphinx-build -W --keep-going -q -b doctest docs docs/_build/doctest

pictures: $(READY) ## Draw the terminal pictures of the documentation, from real runs
	$(BIN)/python tools/render_pictures.py

minimal-root: $(READY) ## make run in a bare Debian without servers, package manager and network
	tools/minimal_root.sh $(ARGS)

COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet

lock: $(READY) ## Write the lock files from pyproject.toml: hashes, no addresses
	$(COMPILE) --group pyproject.toml:dev --output-file requirements.lock
	$(COMPILE) --group pyproject.toml:app --constraint requirements.lock --output-file deploy/requirements.lock

clean: ## Remove what builds, checks and runs leave behind
	rm -rf build dist var htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache docs/_build
