# Everything here works in a fresh clone: what is missing is installed into $(VENV) first.
#
#   make demo VENV=~/envs/n2n              another environment than .venv
#   make test PYTHON=python3.12            another interpreter to create it with
#   make test INSTALL="-e . --no-deps"     other arguments for pip install
#   make bench-mnist DATA_ROOT=~/data      the folder that has MNIST/raw

PYTHON  ?= python3
VENV    ?= .venv
INSTALL ?= -e '.[dev]'
DATA_ROOT ?= data

BIN   := $(VENV)/bin
STAMP := $(VENV)/.hwn2n-installed
DEMO  := runs/demo

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-ray test-report lint format bench-mnist clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' \
		| awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

install: $(STAMP) ## Create the environment; again where pyproject.toml has changed

$(STAMP): pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check $(INSTALL)
	touch $@

# The digits have only 143 validation images by default, too few to choose by: hence 30 %, which
# compress would take from the teacher's file too. One thread: so small a network gains nothing
# from more, and loses much where other work holds the cores.
demo: $(STAMP) ## Teach a small network on 8x8 digits and compress it (about 2 minutes)
	rm -rf $(DEMO)
	$(BIN)/hwn2n teach digits-cnn --data digits --validation 0.3 --threads 1 \
		-o $(DEMO)/teacher.pt
	$(BIN)/hwn2n compress $(DEMO)/teacher.pt --budget budgets/demo.yaml --data digits \
		--validation 0.3 --threads 1 --out $(DEMO)/run

# Two files at a time: a file's tests share what takes long to make.
test: $(STAMP) ## Run the tests, all but the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(STAMP) ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-ray: $(STAMP) ## Run the tests on clusters of several Ray nodes, some of which are killed
	$(BIN)/python -m pytest -m ray

# SHOTS=FOLDER keeps the pictures that it takes. CHROMIUM=PATH is a browser that is not on the path.
test-report: $(STAMP) ## Open reports in headless Chromium (which must be installed) and look
	$(BIN)/python -m pip install --disable-pip-version-check -q 'playwright>=1.45'
	$(BIN)/python -m pytest -m browser

lint: $(STAMP) ## Check style and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(STAMP) ## Bring the code into shape
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench-mnist: $(STAMP) ## The paper's MNIST case, beside random search (hours on 2 cores)
	$(BIN)/python -m benchmarks.mnist --data-root $(DATA_ROOT)

clean: ## Remove .venv, caches and the demo's results; other runs stay
	rm -rf .venv build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(DEMO)
	find hwn2n tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
