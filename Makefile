# Every goal does all of its own set-up; Python >= 3.10, git and make are enough. `make help` lists the goals.

PYTHON ?= python3
SETUP = $(PYTHON) tools/setup.py
# one more than there are cores: tests of servers and kernels wait a lot
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: help demo test test-python test-labextension test-ui screenshots lint bench bench-telemetry bench-monitor bench-viewers bench-sharing bench-estimates soak-sim wheel clean
.DEFAULT_GOAL := help

help: ## show this list
	@$(PYTHON) -c 'import re; [print(f"  make {m[1]:<18}{m[2]}") for m in re.finditer(r"^([a-z-]+):.*?## (.*)", open("Makefile").read(), re.M)]'

demo: ## a JupyterLab with a simulated fleet of GPUs (ARGS="--no-browser --port 8899 --token T")
	@$(SETUP) demo
	@exec .venv/bin/swangpu demo $(ARGS)

test: ## all tests: Python, labextension, browser
	@$(SETUP) test
	@status=0; \
	for part in test-python test-labextension test-ui; do \
	  echo "== $$part"; \
	  $(MAKE) --no-print-directory $$part READY=1 || { status=1; failed="$$failed $$part"; }; \
	done; \
	if [ $$status -eq 0 ]; then echo "make test: all parts passed"; else echo "make test: failed:$$failed"; fi; \
	exit $$status

test-python: ## the Python tests (ARGS goes to pytest; WORKERS processes, a file in each)
	@$(if $(READY),,$(SETUP) test)
	@CC="$$($(SETUP) compiler)" && export CC && .venv/bin/python -m pytest \
	  --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder $(ARGS)

test-labextension: ## the labextension's unit tests
	@$(if $(READY),,$(SETUP) test)
	@cd labextension && PATH="$(CURDIR)/.venv/bin:$$PATH" npm run --silent test

test-ui: ## the browser tests (ARGS goes to Playwright)
	@$(if $(READY),,$(SETUP) test)
	@SWANGPU_CHROMIUM="$$($(SETUP) browser)" && export SWANGPU_CHROMIUM && \
	cd labextension && PATH="$(CURDIR)/.venv/bin:$$PATH" npm run --silent test:ui -- $(ARGS)

screenshots: ## the README's pictures, made anew by the browser tests
	@SWANGPU_SCREENSHOTS="$(CURDIR)/labextension/ui-tests/test-results/screens" $(MAKE) --no-print-directory test-ui
	@cd labextension/ui-tests/test-results/screens && cp panel-light.png panel-dark.png panel-queued.png "$(CURDIR)/docs/images/"

lint: ## ruff, mypy, import-linter, eslint, tsc, and whether the wire types are up to date
	@$(SETUP) lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m swangpu.wire_ts --check
	cd labextension && PATH="$(CURDIR)/.venv/bin:$$PATH" npm run --silent lint

bench: ## the short benchmarks: each prints its table and writes benchmarks/results/<name>.json; the long ones:
	@$(SETUP) test
	@for name in idle_cost session_start cell_profile carry; do echo "== $$name"; .venv/bin/python "benchmarks/$$name.py" || exit 1; done

bench-telemetry: ## what live utilization costs, beside nvdashboard, nvitop and gpustat (WATCH_S=20, ROUNDS=7)
	@$(SETUP) peers
	@CC="$$($(SETUP) compiler)" && export CC && .venv/bin/python benchmarks/telemetry.py

bench-monitor: ## the Monitor with 64 GPUs in a browser: first paint, frames, memory (DURATION_S=600)
	@$(SETUP) test
	@SWANGPU_CHROMIUM="$$($(SETUP) browser)" && export SWANGPU_CHROMIUM && \
	.venv/bin/node benchmarks/monitor_frames/measure.mjs

bench-viewers: ## 500 open panels on one server (DURATION_S=600, VIEWERS=500)
	@$(SETUP) test
	@.venv/bin/python benchmarks/stream_viewers.py

bench-sharing: ## how many GPUs each way of sharing needs (SEEDS=5, DAYS=14, VARIED_SEEDS=1, VARIED_DAYS=4, ONLY=main)
	@$(SETUP) test
	@.venv/bin/python benchmarks/sharing.py

bench-estimates: ## whether estimates of waiting times hold, in simulation (SEEDS=3, DAYS=4)
	@$(SETUP) test
	@.venv/bin/python benchmarks/estimates.py

soak-sim: ## the broker's invariants over millions of steps with faults, and its speed (SEEDS=200, STEPS=5000000)
	@$(SETUP) test
	@.venv/bin/python benchmarks/soak_sim.py

wheel: ## dist/swangpu-*.whl, with the prebuilt labextension
	@$(SETUP) wheel
	@SKIP_JUPYTER_BUILDER=1 .venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@$(PYTHON) -c 'import pathlib; print(*pathlib.Path("dist").glob("*.whl"))'

clean: ## remove everything that was built or installed here
	rm -rf .venv .venv-peers dist build labextension/node_modules labextension/lib labextension/*.tsbuildinfo \
	  src/swangpu/labextension src/swangpu/kernel_side/_charts labextension/ui-tests/test-results labextension/ui-tests/playwright-report .*_cache
