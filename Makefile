# Needs Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FUZZ := 600
COMPATIBILITY := tests/test_torchvision.py tests/test_head_layers.py tests/test_families.py tests/test_onnx.py tests/test_training_checkpoints.py
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-slow lint check compatibility fuzz bench clean

demo: $(VENV)/.demo
	$(BIN)/icis demo --force

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# New damaged files in every reader for FUZZ seconds; what is found lies in fuzz/.
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.attacks.fuzz $(FUZZ)

# Writes the tables of docs/compatibility.md from what its tests find.
compatibility: $(VENV)/.test
	$(BIN)/python -m pytest -q --write-compatibility $(COMPATIBILITY)

# About an hour, on a machine that does nothing else. BENCH='--only startup' for a part of it.
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.run $(BENCH)

# torch and torchvision are installed together, so that they fit each other.
$(VENV)/.demo: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): torch and torchvision take a few minutes and 5 GB"
	$(INSTALL) -e '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(INSTALL) -e '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) icis-demo build dist
