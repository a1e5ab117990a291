# `make demo` and `make test` work on a fresh clone; everything lives in .venv.

PYTHON ?= $(shell command -v python3.11 >/dev/null 2>&1 && python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
STORAGE ?= ./tuneflow-results
PYTEST_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-storage lint format bench clean

help:
	@echo "make demo    tune a classifier on handwritten digits, write report.html"
	@echo "make test    run the tests          (PYTEST_ARGS='-m \"not slow\"' to choose)"
	@echo "make test-storage  a part of them again, on S3, Azure and Ceph servers of this machine"
	@echo "make lint    ruff, formatting, mypy"
	@echo "make format  let ruff fix and format"
	@echo "make bench   run the benchmarks     (BENCH_ARGS=... to choose)"
	@echo "make clean   remove what the other targets made"

setup: $(VENV)/.installed-dev

demo: $(VENV)/.installed-demo
	$(BIN)/tuneflow run examples/digits/study.yaml --storage $(STORAGE)
	$(BIN)/tuneflow report $(STORAGE)/digits -o report.html
	@echo
	@echo "Next: open report.html in a browser,"
	@echo "      $(BIN)/tuneflow best $(STORAGE)/digits      for the winning configuration,"
	@echo "      $(BIN)/tuneflow trials $(STORAGE)/digits    for all of them,"
	@echo "      then point examples/digits/study.yaml at your own function."

# Two at once, each file in one process; see tests/in_parallel.py.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

# What says something new on object storage; see CONTRIBUTING.md.
I := tests/integration
ON := $(BIN)/python -m pytest --storage
test-storage: $(VENV)/.installed-dev
	$(ON) memory $(I)
	$(ON) s3 $(I)/test_end_to_end_*.py $(I)/test_remote_driver.py
	$(ON) azure $(I)/test_store_elsewhere.py $(I)/test_end_to_end_rounds.py
	$(ON) ceph $(I)/test_store_elsewhere.py $(I)/test_end_to_end_crashes.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

clean:
	rm -rf $(VENV) $(STORAGE) report.html dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "tuneflow needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 | head -n 1)."; \
	  echo "Install one and say which: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)

# A stamp per set of extras: set-up runs once, and again when the requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e '.[$*]'
	@touch $@
