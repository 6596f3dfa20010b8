# Every target sets itself up in .venv: Python 3.10-3.13 and make are all a fresh machine needs.
#   make serve   the endpoint for the DAW, and its page in the browser
#   make demo    a variation of the bundled loop, with its picture, in out/
#   make test    all tests          make check   lint, types, layers and the unit tests
#   make docs    the documentation as a site in site/
# A Python of your own: make test PYTHON=python3.12     A CUDA build of torch: make serve TORCH="torch==2.13.0+cu130"

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# torch is installed first, with an exact version: a CPU wheel at hand is taken, and no package
# installed later replaces it by a newer build of several GB.
TORCH ?= torch==2.13.0
# Without the tests that start servers, browsers or trainings, and the slow ones.
UNIT := not e2e and not browser and not training and not slow

# The first Python that runs and is in range (a version manager's stub may be on the path and not run).
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python3.10 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help serve demo test check lint docs clean
.DEFAULT_GOAL := help
.PRECIOUS: $(VENV)/extra-%

help:
	@sed -n '2,5s/^#//p' Makefile

$(VENV)/torch:
	@test -n "$(PYTHON)" || { echo "vampnet needs Python 3.10 to 3.13; none was found. Name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "Setting up $(VENV): the first time takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "$(TORCH)"
	@touch $@

# One file per extra of pyproject.toml that is installed.
$(VENV)/extra-%: $(VENV)/torch pyproject.toml
	$(PIP) install --quiet --editable ".[$*]" "$(TORCH)"
	@touch $@

serve: $(VENV)/extra-serve
	$(BIN)/vampnet serve

demo: $(VENV)/extra-plot
	@mkdir -p out
	$(BIN)/vampnet vamp docs/demo/loop.flac out/variation.flac --preset loop-variation --picture out/variation.png --force

test: $(VENV)/extra-dev
	$(BIN)/python -m pytest

check: lint
	$(BIN)/python -m pytest -n auto -m "$(UNIT)"

lint: $(VENV)/extra-dev
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/extra-docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) out build dist site
