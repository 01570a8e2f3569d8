# `make tour` and `make test` do everything on a fresh machine: environment, installation, job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# One BLAS thread for each of pytest's two workers; more would fight over the cores.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: help tour test lint test-heavy format clean

help:
	@echo "make tour        five minutes through everything; ends in tour/index.html"
	@echo "make test        lint, types and tests (about two minutes after installation)"
	@echo "make test-heavy  the same tests on many more random cases"
	@echo "make format      lay out the code"
	@echo "make clean       remove the environment and the tour"

tour: $(VENV)/core.installed
	$(BIN)/minirembert tour --out tour

test: lint
	$(PYTEST)

test-heavy: $(VENV)/test.installed
	$(PYTEST) --hypothesis-profile search

lint: $(VENV)/test.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) tour

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "minirembert needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || (rm -rf $(VENV); false)

$(VENV)/core.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/test.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[test]'
	touch $@ $(VENV)/core.installed
