# Needs Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
FUZZ := 600
TESTS :=
COMPATIBILITY := tests/test_torchvision.py tests/test_head_layers.py tests/test_families.py tests/test_onnx.py tests/test_training_checkpoints.py
# One worker and one thread of BLAS for each core; all tests of a file run in one worker.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
    $(BIN)/python -m pytest --numprocesses $(shell getconf _NPROCESSORS_ONLN) --dist loadfile
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-all golden golden-update lint check docs reference compatibility fuzz bench lock lock-oldest test-oldest audit clean

demo: $(VENV)/.demo
	$(BIN)/icis demo --force

test: $(VENV)/.test
	$(PYTEST) -m "not slow and not family" $(TESTS)

# Everything: before an issue is resolved, and in CI with CI_FULL=1.
test-all: $(VENV)/.test
	$(PYTEST) $(TESTS)

# Compares what icis prints and writes with golden/; ONLY='fit eval' for a part of it.
golden: $(VENV)/.test
	$(BIN)/python -m tools.golden $(ONLY)

golden-update: $(VENV)/.test
	$(BIN)/python -m tools.golden --update $(ONLY)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# Builds docs/ into site/; a warning is an error. Nothing is loaded from elsewhere, then or by readers.
docs: $(VENV)/.test
	$(BIN)/python -m tools.cli_reference --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Writes docs/reference/cli.md from the commands, and what they print into the pages that show it.
reference: $(VENV)/.test
	$(BIN)/python -m tools.cli_reference
	$(BIN)/python -m tests.docs_running README.md docs/tutorial.md docs/howto/pipelines.md

# New damaged files in every reader for FUZZ seconds; what is found lies in fuzz/.
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.attacks.fuzz $(FUZZ)

# Writes the tables of docs/compatibility.md from what its tests find.
compatibility: $(VENV)/.test
	$(BIN)/python -m pytest -q --write-compatibility $(COMPATIBILITY)

# About an hour, on a machine that does nothing else. BENCH='--only startup' for a part of it.
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.run $(BENCH)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# torch and torchvision are installed together, so that they fit each other.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV): torch and torchvision take a few minutes and 5 GB"
	$(INSTALL) -e '.[demo]'
	touch $@

# With LOCK=requirements/ci.txt, as CI has it: the versions, and the bytes, that the file lists.
$(VENV)/.test: pyproject.toml $(LOCK) | $(BIN)/python
ifdef LOCK
	$(INSTALL) --require-hashes -r $(LOCK)
	$(INSTALL) --no-deps --no-build-isolation -e .
else
	$(INSTALL) -e '.[test,lint]'
endif
	touch $@

# Newest versions that pyproject.toml allows, for the Python and the system of CI.
lock: $(VENV)/.test
	$(INSTALL) uv
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11.7 --generate-hashes --no-annotate \
	    --custom-compile-command "make lock" pyproject.toml requirements/build.in \
	    --extra test --extra lint -o requirements/ci.txt

# The oldest versions that pyproject.toml allows, with the newest of what those need.
lock-oldest: $(VENV)/.test
	$(INSTALL) uv
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11.7 --no-annotate --resolution lowest-direct \
	    --custom-compile-command "make lock-oldest" pyproject.toml requirements/build.in \
	    --extra test -o requirements/oldest.txt

# Tests with them, in an environment of its own; old libraries warn about newer ones.
test-oldest: $(OLDEST)/.test
	$(OLDEST)/bin/python -m pytest -m "not slow" \
	    -W ignore::DeprecationWarning -W ignore::FutureWarning $(TESTS)

$(OLDEST)/.test: pyproject.toml requirements/oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet -r requirements/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# Known holes in what is locked; asks a service.
audit: $(VENV)/.test
	$(INSTALL) pip-audit
	$(BIN)/pip-audit --requirement requirements/ci.txt --no-deps --disable-pip

clean:
	rm -rf $(VENV) $(OLDEST) icis-demo build dist site
