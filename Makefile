# `make demo` and `make test` are all that a newcomer needs; both install what they use into .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# One more than there are cores, which keeps all of them at work; from eight on, memory and PostgreSQL are the bound.
WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((cores < 2 ? 3 : cores < 8 ? cores + 1 : 8)))
# Processes that we start load thousands of modules: with bytecode in a third of the time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo up test test-system test-n8n lint bench clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## the virtual environment, with everything pinned

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,test]'
	touch $@

demo: install ## two tenants, six n8n, one drift: in the terminal and in the Dagster UI (ARGS=--once stops again)
	$(BIN)/wfops demo $(ARGS)

up: install ## the system to work with: database, code server, daemon, UI
	$(BIN)/wfops up $(ARGS)

test: install ## the test suite (what takes longer apart: make test-system, make test-n8n)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m 'not system and not n8n and not benchmark' $(ARGS)

test-system: install ## whole systems of processes, the UI in a browser, and the walks through all that can fail
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m 'system and not n8n' $(ARGS)

test-n8n: install ## conformance and end-to-end on real n8n 2.x and 1.x, installed once into a cache
	$(BIN)/python -m wfops_pipelines.embedded.n8n_server install 2.41.1
	$(BIN)/python -m wfops_pipelines.embedded.n8n_server install 1.123.81
	WFOPS_REQUIRE_N8N=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m n8n $(ARGS)

lint: install ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## speed and memory as ratios; writes reports/benchmarks.json
	$(BIN)/python -m wfops_pipelines_tests.benchmarks $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
