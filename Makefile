# Every target prepares its own ground: `make demo` works in a fresh clone.
# The runtime alone installs in seconds; the developer's tools follow only for the targets that need them.
PYTHON ?= python3
SEED ?=
SEEDS ?=
NODES ?=
SCENARIO ?=
PYTEST_ARGS ?=
# A machine that forbids bytecode files would compile the whole package in each process anew.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
PY := $(VENV)/bin/python
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench sim sim-mutants chaos chaos-long diagrams rows clean

help:
	@echo "make demo      a real job on a real cluster of processes, one worker killed on the way"
	@echo "make test      all tests"
	@echo "make check     lint, format, types, import contract, house rules"
	@echo "make bench     Linckia, its peers and the physical limits, alternately in one run"
	@echo "make sim       the deterministic simulator (SEED=<n> replays one run; NODES=2000 SCENARIO=churn: many machines)"
	@echo "make sim-mutants  bugs planted on purpose, and how the simulator found each"
	@echo "make chaos     hurt real clusters for 40 minutes; reports in docs/reports (chaos-long: two hours more)"
	@echo "make diagrams  write docs/diagrams anew from the life-cycle tables"
	@echo "make rows      behaviour rows that no test names yet"

$(RUNTIME): pyproject.toml
	@test -x $(PY) || { echo "creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Linckia needs Python 3.11 or newer; set PYTHON=python3.11 and remove .venv")'
	@echo "installing linckia into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV): $(RUNTIME)
	@echo "installing the developer's tools into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

setup: $(DEV)

demo: $(RUNTIME)
	@$(PY) -m linckia.cli.main demo

# Two runs side by side, one verdict: tests compute little and wait much.
BESIDE := tests/unit tests/sim tests/tidy tests/fault
test: setup
ifeq ($(PYTEST_ARGS),)
	@$(PY) -m pytest -q $(BESIDE) > $(VENV)/tests-beside.log 2>&1 & beside=$$!; \
	trap "kill $$beside; exit 130" INT TERM; \
	$(PY) -m pytest tests --durations=5 $(BESIDE:%=--ignore=%); others=$$?; \
	wait $$beside; beside=$$?; \
	echo "beside it, $(BESIDE):"; \
	if test $$beside -eq 0; then tail -n 3 $(VENV)/tests-beside.log; else cat $(VENV)/tests-beside.log; fi; \
	test $$others -eq 0 -a $$beside -eq 0
else
	$(PY) -m pytest tests --durations=5 $(PYTEST_ARGS)
endif

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/pyright
	$(PY) -m pytest -q tests/tidy

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: setup
	$(PY) -m bench

sim: setup
ifneq ($(SCENARIO)$(NODES),)
	SEED=$(SEED) SEEDS=$(SEEDS) NODES=$(NODES) SCENARIO=$(SCENARIO) $(PY) -m linckia.testing.fleet
else
	SEED=$(SEED) SEEDS=$(SEEDS) $(PY) -m pytest tests/sim -m sim $(PYTEST_ARGS)
	SEED=$(SEED) SEEDS=$(or $(SEEDS),3) $(PY) -m linckia.testing.fleet
endif

sim-mutants: setup
	@SEEDS=$(SEEDS) $(PY) -m linckia.testing.fleet.mutants

diagrams: setup
	$(PY) -m tools.diagrams

rows: setup
	$(PY) -m tools.rows

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Faults of real processes under load; the reports are for docs/reports. `make chaos` takes 40 minutes, `make chaos-long` two hours
# more; a line can be run by itself. What a machine cannot do (namespaces need root) is refused with the reason.
CHAOS := $(VENV)/bin/linckia chaos
REPORTS ?= docs/reports
chaos: setup
	$(CHAOS) --store etcd --faults head --for 155s --every 5s --report $(REPORTS)/chaos-head-etcd.md
	$(CHAOS) --store etcd --faults head --load task,call,creation --for 155s --every 5s --report $(REPORTS)/chaos-head-load.md
	$(CHAOS) --store session --faults head --for 185s --every 6s --report $(REPORTS)/chaos-head-sqlite.md
	$(CHAOS) --store etcd --faults etcd-all --for 65s --every 6s --report $(REPORTS)/chaos-etcd-all.md
	$(CHAOS) --store session --faults worker --for 205s --every 200ms --report $(REPORTS)/chaos-worker.md
	$(CHAOS) --store session --faults raylet --for 305s --every 3s --report $(REPORTS)/chaos-raylet.md
	$(CHAOS) --store etcd --faults host --for 303s --every 10s --report $(REPORTS)/chaos-host.md
	$(CHAOS) --store etcd --faults host-etcd --for 303s --every 10s --report $(REPORTS)/chaos-host-etcd.md
	$(CHAOS) --store etcd --faults cut,slow-disk,full-store --for 180s --every 10s --report $(REPORTS)/chaos-cut-disk.md
	$(CHAOS) --store etcd --faults all --for 180s --every 8s --report $(REPORTS)/chaos-all-etcd.md
	$(CHAOS) judge --report $(REPORTS)/judge.md

chaos-long: setup
	$(CHAOS) --store session --faults worker --for 403s --every 400ms --report $(REPORTS)/chaos-worker-1000.md
	$(CHAOS) --store session --faults raylet --for 403s --every 4s --report $(REPORTS)/chaos-raylet-100.md
	$(CHAOS) --store session --faults head --for 879s --every 4s --report $(REPORTS)/chaos-head-219.md
	$(CHAOS) --store etcd --faults stale-head --lasts 3s --for 603s --every 6s --report $(REPORTS)/chaos-stale-100.md
	$(CHAOS) --store etcd --faults all --for 1h --every 30s --report $(REPORTS)/chaos-hour.md
	$(PY) -m linckia.testing.chaos.oom --runs 200 --report $(REPORTS)/chaos-memory-200.md
