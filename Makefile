# Everything runs in .venv, which is made on first use and renewed when the pins change.
SHELL  := /bin/bash
PYTHON ?= $(shell for p in python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
PIP    := .venv/bin/python -m pip install -qq --disable-pip-version-check --progress-bar off
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help train test test-long test-cluster check docs bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  ARGS="..." passes through: make train ARGS="task=mrpc seed=7", make test ARGS="-k poolers"'

train: .venv/ready ## Fine-tune the packaged MiniLM on generated data: the main job, no model hub needed
	@.venv/bin/glue-pool train experiment=offline $(ARGS)

test: .venv/ready-dev ## Run the tests
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 2 --dist worksteal $(ARGS)

test-long: .venv/ready-dev ## Run the whole products of which the tests have one of each kind, some minutes
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -m long -n 2 --dist worksteal $(ARGS)

test-cluster: .venv/ready-cluster ## Run sweeps on a real Slurm and a real Ray; needs root, skips what isn't there
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -m cluster -n 2 --dist loadfile tests/cluster $(ARGS)

check: .venv/ready-dev ## Check format, lint and types
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/mypy

docs: .venv/ready ## Write the pages that follow from code and YAML: methods.md and reference.md
	@.venv/bin/python scripts/write_docs.py

bench: .venv/ready-bench ## Time training beside Hugging Face's Trainer (ARGS="--data GLUE --parts command"), an hour for all
	@.venv/bin/python scripts/bench.py $(ARGS)

clean: ## Remove .venv and the tools' caches (outputs/ stays)
	@rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	@echo "Making .venv with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear .venv
	@touch $@

.venv/ready: pyproject.toml constraints.txt .venv/made
	@echo "Installing into .venv (a minute or two)"
	@$(PIP) -c constraints.txt -e '.[offline]'
	@touch $@

.venv/ready-dev: .venv/ready
	@echo "Installing the developer tools into .venv"
	@$(PIP) -c constraints.txt -e '.[offline,dashboard,dev,export]'
	@touch $@

.venv/ready-cluster: .venv/ready-dev
	@echo "Installing submitit and Ray into .venv"
	@$(PIP) -c constraints.txt -e '.[offline,dev,export,slurm,ray]'
	@touch $@

.venv/ready-bench: .venv/ready
	@echo "Installing what the Trainer needs into .venv"
	@$(PIP) -c constraints.txt -e '.[offline,bench]'
	@touch $@
