# make quickstart, make test, make lint. Needs make and Python >= 3.10; everything else goes into $(VENV).

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
SYSTEM ?= calce
# With an NVIDIA GPU: torch with CUDA. Without one: the CPU build, from where pip is configured to look or from
# TORCH_INDEX_URL. TORCH=cpu or TORCH=cuda overrides what was found.
TORCH ?= auto
TORCH_INDEX_URL ?=
export TORCH TORCH_INDEX_URL

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALL_FILES := setup.py pyproject.toml requirements/install.py requirements/constraints-cpu.txt
# Two OpenMP threads on a busy small machine make tiny models up to 100 times slower: the tests run one thread each.
TEST_ENV := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
TEST_WORKERS ?= 2
TEST_ARGS ?=

.PHONY: help quickstart install install-dev test parity lint style types format clean distclean

help:  ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: SYSTEM=$(SYSTEM)  VENV=$(VENV)  PYTHON=$(PYTHON)  TORCH=$(TORCH) (auto, cpu, cuda, keep)"
	@echo "             TORCH_INDEX_URL=$(TORCH_INDEX_URL)  TEST_WORKERS=$(TEST_WORKERS)  TEST_ARGS=$(TEST_ARGS)"

quickstart: $(INSTALLED)  ## Install, make sample videos, train every stage, evaluate, write a report (SYSTEM=calce or meco).
	$(BIN)/lavis quickstart --system $(SYSTEM)

install: $(INSTALLED)  ## Make the virtual environment and install the project.

install-dev: $(INSTALLED_DEV)  ## The same with the tools for tests and lint.

test: $(INSTALLED_DEV)  ## Run the tests (TEST_ARGS="-k moment" for some of them).
	$(TEST_ENV) $(BIN)/python -m pytest -n $(TEST_WORKERS) $(TEST_ARGS)

parity: $(INSTALLED_DEV)  ## Compare with outputs of the original systems (GOLDEN=folder).
	$(TEST_ENV) $(BIN)/python -m tests.parity --golden $(or $(GOLDEN),../shared/golden)

lint: style types  ## Check style and types.

style: $(INSTALLED_DEV)
	$(BIN)/ruff check .

types: $(INSTALLED_DEV)
	$(BIN)/mypy

format: $(INSTALLED_DEV)  ## Sort imports and mend what ruff can mend.
	$(BIN)/ruff check --fix .

clean:  ## Remove caches and build folders; keeps the environment and results.
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean: clean  ## The same, and the environment.
	rm -rf $(VENV)

$(INSTALLED): $(INSTALL_FILES)
	$(PYTHON) requirements/install.py --venv $(VENV) --target quickstart
	@touch $@

$(INSTALLED_DEV): $(INSTALL_FILES)
	$(PYTHON) requirements/install.py --venv $(VENV) --extras dev --target test
	@touch $(INSTALLED) $@
