# Two commands matter: `make up` starts everything on this machine, `make test` runs everything that CI runs.
# Both need only make and Python ≥ 3.11 with venv and pip; the rest is installed into .venv from locked files.

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
# The stamp is named after what is installed: another branch with other pins installs again, and back does too.
PINS := $(shell cat requirements/*.txt | cksum | tr ' ' -)
INSTALLED := .venv/installed-$(PINS)
# One more than there are cores: many tests wait for real processes, and leave their core to others meanwhile.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))')
PYTEST ?= $(BIN)/pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help up test coverage check format lint types imports schema-check web bench soak schema lock clean

help:
	@echo 'make up      start everything on this machine and print where'
	@echo 'make test    everything that CI runs'
	@echo 'make check   formatting, lint, types, imports'
	@echo 'make format  format, and mend what the lints can mend'
	@echo 'make coverage  what the tests reach; fails below 85 %'
	@echo 'make schema  write schema.graphql and the tables of docs/settings.md anew'
	@echo 'make web     build GraphiQL, and install the npm packages of the tests'
	@echo 'make bench   measure           make soak   random faults, at length'
	@echo 'make lock    pin the dependencies anew'
	@echo 'make clean   remove what was installed and built, and the data of make up (.holdfast)'

up: $(INSTALLED)
	@web/build.sh || echo 'GraphiQL could not be built; everything else works. Build it later with web/build.sh (it needs Node ≥ 22 and the npm registry).'
	@exec $(BIN)/python -m server up

test: check schema-check web
	$(PYTEST)

# Apart from `test`: measuring which lines and branches run doubles the processor time of the suite.
coverage: $(INSTALLED)
	$(PYTEST) --cov --cov-report=term

check: lint types imports

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema-check: $(INSTALLED)
	$(BIN)/python -m server schema --check
	$(BIN)/python -m server settings --check

schema: $(INSTALLED)
	$(BIN)/python -m server schema
	$(BIN)/python -m server settings

# GraphiQL, and the npm clients that the tests drive. Without the npm registry their tests skip, except in CI.
web: $(INSTALLED)
	@web/build.sh --packages && web/build.sh || test "$$CI" != true

bench: $(INSTALLED)
	$(BIN)/python -m bench
	$(BIN)/python -m bench ledger --peers

# Random faults against a fleet of workers, then the state machine at length, then the races and faults over and over:
# make soak FAULTS=1000 SEED=7 EXAMPLES=500 ROUNDS=20
FAULTS ?= 1000
EXAMPLES ?= 200
ROUNDS ?= 3
soak: $(INSTALLED)
	$(BIN)/python -m tests.soak --faults $(FAULTS) $(if $(SEED),--seed $(SEED))
	LEDGER_MACHINE_EXAMPLES=$(EXAMPLES) $(PYTEST) -q --timeout 3600 tests/races/test_ledger_machine.py
	for round in $$(seq $(ROUNDS)); do $(PYTEST) -q tests/races tests/faults || exit 1; done

lock: $(INSTALLED)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements/base.txt $(LOCK)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra tracing -c requirements/base.txt -o requirements/tracing.txt $(LOCK)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra tracing --group dev -c requirements/tracing.txt -o requirements/dev.txt $(LOCK)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header bench/requirements.in -c requirements/base.txt -o bench/requirements.txt $(LOCK)
	echo 'uv' | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate - -o requirements/uv.txt $(LOCK)

clean:
	rm -rf .venv .holdfast .mypy_cache .ruff_cache .pytest_cache .import_linter_cache web/node_modules server/static

# uv installs many times faster than pip; pip is only there to install uv, whose pin has a hash like all others.
$(INSTALLED):
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer with its venv module is needed (Debian: apt install python3-venv). Set PYTHON=/path/to/python3 where it is not on the PATH.'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'Installing what requirements/ pins …'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@rm -f .venv/installed-* && touch $@
