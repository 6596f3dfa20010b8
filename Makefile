# Every target sets itself up: Python 3.10-3.13 and make are all a fresh machine needs.
#   make serve   the endpoint for the DAW (and its page in the browser)
#   make demo    a variation of the bundled loop, with its picture, in out/
#   make test    the tests          make lint    style, types and layers
# A Python of your own: make test PYTHON=python3.12     A CUDA build of torch: make serve TORCH="torch==2.13.0+cu130"

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# torch comes first and by number: a machine that has a CPU wheel of it at hand takes that one, and
# nothing installed later can replace it by a newer build of several GB.
TORCH ?= torch==2.13.0

# The first Python that runs and is in range (a version manager's stub may be on the path and not run).
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python3.10 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help serve demo test lint clean
.DEFAULT_GOAL := help

help:
	@sed -n '2,4s/^#//p' Makefile

$(VENV)/torch:
	@test -n "$(PYTHON)" || { echo "vampnet needs Python 3.10 to 3.13; none was found. Name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "Setting up $(VENV): the first time takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "$(TORCH)"
	@touch $@

$(VENV)/base: $(VENV)/torch pyproject.toml
	$(PIP) install --quiet --editable . "$(TORCH)"
	@touch $@

$(VENV)/dev: $(VENV)/base
	$(PIP) install --quiet --editable ".[dev]" "$(TORCH)"
	@touch $@

serve: $(VENV)/base
	$(BIN)/vampnet serve

demo: $(VENV)/base
	@mkdir -p out
	$(BIN)/vampnet vamp docs/demo/loop.flac out/variation.flac --preset loop-variation --picture out/variation.png --force

test: $(VENV)/dev
	$(BIN)/python -m pytest

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) out build dist
