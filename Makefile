# raynas. Every target makes the environment (.venv) first when it is missing.
# From another folder: make -C path/to/raynas TARGET

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint types pytest quick drills lowest format wheel clean
BIN := .venv/bin
# As many processes as cores, 4 at most; clusters and servers keep to one of them per file, and drills come last
# (tests/conftest.py).
PYTEST := $(BIN)/python .ci/loopback.py $(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadgroup \
	--no-loadscope-reorder

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

quickstart: setup ## Run the first sweep, or carry on where it was stopped
	@$(BIN)/raynas sweep quickstart --or-resume

test: lint types pytest ## Check style, types and tests; the drills are apart

lint: setup ## Check style and format (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check types (mypy --strict)
	$(BIN)/mypy --strict

pytest: setup ## Run the tests only
	$(PYTEST) -m "not drill" $(ARGS)

quick: setup ## Run the tests that take no search to its end and start no cluster
	$(PYTEST) -m "not slow and not drill" $(ARGS)

drills: setup ## Run what takes clusters, kills and long waits
	$(PYTEST) -m drill $(ARGS)

lowest: setup ## Run the quick tests with the lowest versions that pyproject.toml allows
	$(BIN)/python -m uv venv --quiet --clear .lowest
	$(BIN)/python -m uv pip install --quiet --python .lowest --resolution lowest-direct --editable '.[test]'
	$(subst $(BIN),.lowest/bin,$(PYTEST)) -m "not slow and not drill" $(ARGS)

format: setup ## Rewrite the code in its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: setup ## Build dist/raynas-*.whl, which cluster.yaml installs on every node
	rm -rf build dist
	$(BIN)/python -m build --wheel
	rm -rf build

setup: ## Make .venv when it is missing or pyproject.toml changed
	@.ci/setup

clean: ## Remove the environment and everything built; runs/ stays
	rm -rf .venv .lowest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
