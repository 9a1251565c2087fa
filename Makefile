# Two commands are all a newcomer needs: `make sweep` and `make test`. Both set up .venv first; a second call installs nothing.

PYTHON ?= python3
# Set for a host whose own packages are to be used, as where none can be fetched: `make gpu-check INSTALLED=1`.
INSTALLED ?=
CONFIG ?= configs/quickstart.yaml
NAME = $(shell sed -n 's/^name: *//p' $(CONFIG) | head -n 1)
OUT ?= results/$(NAME)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup sweep report test check format bench gpu-check clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  CONFIG=$(CONFIG) OUT=$(OUT)"

setup: $(READY) ## create .venv with the pinned dependencies

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "GreenRay needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

sweep: $(READY) ## run CONFIG (the quickstart) into OUT and write its report; the same command resumes
	$(BIN)/greenray sweep $(CONFIG) --out $(OUT)

report: $(READY) ## analyse OUT again and write its report
	$(BIN)/greenray report $(OUT)

test: check ## checks, then the tests, most of them two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

check: $(READY) ## ruff, formatting, types, who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## benchmarks, beside their peers
	$(BIN)/python -m tests.benchmarks.run

gpu-check: $(if $(INSTALLED),,$(READY)) ## check the instrument on a real GPU, with a report; skipped where there is none
	$(if $(INSTALLED),$(PYTHON),$(BIN)/python) -m tests.gpu_check.check $(ARGS)

clean: ## remove .venv, caches and benchmark leftovers; results stay
	rm -rf $(VENV) .venv-peers .venv-meters .bench build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
