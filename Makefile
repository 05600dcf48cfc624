# make run | test | lint | suites | bench | lock | clean: each sets up what it needs.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The first Python of a supported version that really starts.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
ARGUMENTS ?=

.PHONY: run test lint suites bench lock clean

run: $(READY)
	$(BIN)/harness run $(ARGUMENTS)

test: $(READY)
	$(BIN)/python -m pytest -q -n auto --dist loadscope $(ARGUMENTS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m tests.bench $(ARGUMENTS)

suites: $(READY)
	$(BIN)/harness suite coremltools $(ARGUMENTS)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "harness needs Python 3.11, 3.12 or 3.13 on the PATH"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

# Resolves for every supported Python and system; keeps what is locked unless told otherwise.
lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--extra development --extra suites --no-header --output-file requirements.lock $(ARGUMENTS)

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .benchmarks *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
