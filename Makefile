# Everything that a fresh machine with Python >= 3.10, git and make needs is done by these targets themselves.
.POSIX:
.SUFFIXES:

PYTHON = python3
SETUP = $(PYTHON) tools/setup.py
BIN = .venv/bin
ARGS =

.PHONY: help demo test test-python test-js test-ui lint bench wheel clean

help: ## Show this list
	@$(PYTHON) tools/setup.py help

demo: ## Start JupyterLab with a simulated fleet of GPUs
	@$(SETUP) demo
	@$(BIN)/swangpu demo $(ARGS)

test: test-python test-js test-ui ## Run all tests

test-python: ## Run the Python tests
	@$(SETUP) test
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-js: ## Run the TypeScript unit tests
	@$(SETUP) js
	@$(SETUP) npm run test

test-ui: ## Run the browser tests
	@$(SETUP) ui
	@$(SETUP) npm run test:ui

lint: ## Run ruff, mypy, import-linter, eslint, tsc; compare the generated wire types
	@$(SETUP) lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m swangpu.wire_ts --check
	@$(SETUP) npm run lint
	@$(SETUP) npm run typecheck

bench: ## Run the benchmarks; results go to benchmarks/results
	@$(SETUP) test
	@$(BIN)/python benchmarks/session_start.py
	@$(BIN)/python benchmarks/idle_cost.py

wheel: ## Build the wheel, with the labextension in it
	@$(SETUP) wheel

clean: ## Remove everything that these targets made
	@$(PYTHON) tools/setup.py clean
