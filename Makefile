# `make tour` and `make test` do everything on a fresh machine: environment, installation, job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLD := .venv-triton36
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# One BLAS thread for each of pytest's two workers; more would fight over the cores.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: help tour test test-kernels mutants lint test-heavy fuzz test-triton36 format clean

help:
	@echo "make tour        five minutes through everything; ends in tour/index.html"
	@echo "make test        lint, types and tests (a quarter of an hour on two cores)"
	@echo "make test-kernels  what the kernels compute, read and write; for who writes some (minutes). KERNEL=mine.py: yours alone"
	@echo "make mutants     the tests of the tests: every planted mistake, and the test that catches it first"
	@echo "make test-heavy  the same tests on many more random cases (hours)"
	@echo "make fuzz        damages 12,000 folders of safetensors and loads them (two minutes)"
	@echo "make test-triton36  compiles the kernels with triton 3.6, in an environment of its own"
	@echo "make format      lay out the code"
	@echo "make clean       remove the environment and the tour"

tour: $(VENV)/core.installed
	$(BIN)/minirembert tour --out tour

test: lint
	$(PYTEST)

# Values, gradients and properties of every op; the rungs of attention; edges, strides, offsets, half precision, what is not
# finite; what launchers refuse; one planted mistake for each kernel; registers and spills where it is compiled.
KERNEL_TESTS := test_ops test_op_activations test_op_attention test_op_dropout test_op_embedding test_op_layernorm \
	test_op_linear test_op_losses test_op_random test_op_rows test_op_settings test_op_softmax test_attention_ladder \
	test_twins test_interpreter test_offsets test_inputs_as_they_lie test_half_precision test_half_precision_sums \
	test_not_finite test_kernel_input test_kernel_input_rows test_kernel_of_yours test_traffic test_launch \
	test_optimizer_of_the_kernels mutants/test_kernel_mutants test_compilation

test-kernels: $(VENV)/test.installed
	@echo "values, gradients and properties of every op; rungs, edges, strides, half precision; refusals; mutants; registers"
	$(PYTEST) $(KERNEL_TESTS:%=tests/%.py) $(if $(KERNEL),--kernel $(KERNEL))

mutants: $(VENV)/test.installed
	$(PYTEST) tests/mutants --all-mutants -v

test-heavy: $(VENV)/test.installed
	$(PYTEST) --hypothesis-profile search

fuzz: $(VENV)/test.installed
	OMP_NUM_THREADS=1 nice $(BIN)/python tests/fuzz_checkpoints.py 12000

test-triton36: $(OLD)/test.installed
	OMP_NUM_THREADS=1 $(OLD)/bin/python -m pytest tests/test_compilation.py

lint: $(VENV)/test.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(OLD) tour

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "minirembert needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || (rm -rf $(VENV); false)

$(VENV)/core.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/test.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP_INSTALL) -e '.[test]'
	touch $@ $(VENV)/core.installed

# torch names the one triton it wants, so the old one is put in its place afterwards, without asking for torch's opinion; and
# with it a NumPy that its interpreter can live with.
$(OLD)/test.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLD) || (rm -rf $(OLD); false)
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps triton==3.6.0 'numpy<2.4'
	touch $@
