# Everything sets itself up: `make test` and `make demo` work on a fresh machine with Python 3.11+.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VIDEO ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml setup.py constraints.txt $(wildcard hypernet/native/*.[ch])
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $@

.PHONY: install
install: $(READY) ## Create the virtual environment and install everything

.PHONY: check
check: $(READY) ## Formatting, lint, types, import arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: $(READY) ## All tests that a laptop can run; many wait for processes, so three at once on two cores
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile

.PHONY: test-slow
test-slow: $(READY) ## The long ones: full fuzzing, long videos
	$(BIN)/pytest -m slow

.PHONY: chaos
chaos: $(READY) ## Kill workers and servers for up to 20 minutes (CHAOS_SEED=N repeats a run)
	$(BIN)/pytest -m chaos -s

.PHONY: golden
golden: $(READY) ## Rewrite the golden streams; review the diff
	REGENERATE_GOLDEN=1 $(BIN)/pytest tests/golden

.PHONY: demo
demo: $(READY) ## A clip through the service, decoded and compared (VIDEO=path for your own)
	$(BIN)/python -m encoder_service.demo $(if $(VIDEO),--video '$(VIDEO)')

.PHONY: clean
clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build *.egg-info
