# meshd's workshop. `make` lists what there is; each target installs what it needs, once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BARE   := .venv-bare
PIP    := -m pip --disable-pip-version-check --quiet install
TESTS  ?= tests
# Most tests wait for something most of the time: with four at once the check takes 22 minutes, with two 35.
PYTEST := -m pytest --numprocesses 4 --dist loadgroup
CHAOS_SECONDS ?= 60
CHAOS_SEED    ?= # any, which it prints

.DEFAULT_GOAL := help
.PHONY: help run test check format format-check lint types imports budgets \
        test-matrix test-bare test-systemd test-oom deb chaos chaos-mutations bench bench-recovery \
        redis-server iproute2 tmux nodejs promtool packaging-tools containers trees clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start everything in the foreground and run every built-in task
	@$(BIN)/meshd dev --demo

test: $(VENV)/.dev redis-server iproute2 tmux nodejs promtool packaging-tools containers trees ## all tests (TESTS=tests/unit for some of them)
	$(BIN)/python $(PYTEST) $(TESTS)

check: format-check lint types imports budgets test ## exactly what CI wants to see

format: $(VENV)/.dev ## rewrite the source in the one format
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

format-check: $(VENV)/.dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## import-linter: the floors
	$(BIN)/lint-imports --no-logo

budgets: $(VENV)/.dev ## sizes, docstrings, names
	$(BIN)/python -m pytest -q tests/unit/test_budgets.py

test-matrix: test-bare test ## the tests without what is only recommended, and with it

# What talks to Redis, without hiredis; and the metrics with the library of Debian 12.
test-bare: $(BARE)/.dev redis-server
	$(BARE)/bin/python $(PYTEST) tests/redis tests/unit/test_resp.py tests/unit/test_metrics*.py \
	    $(addprefix tests/processes/test_,metrics.py metrics_files.py worker_redis.py lost_replies.py)

chaos: $(VENV)/.dev redis-server ## kill, freeze and cut off everything, and count (CHAOS_SECONDS=3600 CHAOS_SEED=7)
	$(BIN)/python -m tests.chaos --seconds $(CHAOS_SECONDS) $(if $(strip $(CHAOS_SEED)),--seed $(CHAOS_SEED))

chaos-mutations: $(VENV)/.dev redis-server ## the same over copies that are broken on purpose: all must be red
	$(BIN)/python -m tests.chaos.mutations --seconds $(CHAOS_SECONDS)

bench: $(VENV)/.dev redis-server ## the first numbers: throughput, latency, start, memory
	$(BIN)/python -m bench.numbers --json bench/results/numbers.jsonl \
	    --markdown docs/performance.md

deb: packaging-tools ## build dist/meshd_VERSION_all.deb
	packaging/build-deb dist

test-systemd: $(VENV)/.dev packaging-tools containers trees ## the package on a booted Debian 12 and 13
	$(BIN)/python $(PYTEST) tests/systemd

test-oom: $(VENV)/.dev packaging-tools containers ## the out-of-memory killer, in an emulated machine (minutes)
	@command -v qemu-system-x86_64 >/dev/null || { apt-get update -q && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends qemu-system-x86; }
	$(BIN)/python -m tests.systemd.oom

bench-recovery: $(VENV)/.dev redis-server packaging-tools containers ## how soon a task runs again after each kind of death
	$(BIN)/python -m bench.recovery --json bench/results/recovery.jsonl \
	    --markdown docs/reliability.md

clean: ## remove everything that is not source
	rm -rf .venv* build dist bench/results *.egg-info .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

trees: $(VENV)/.dev containers
ifneq ($(filter tests tests/systemd%,$(TESTS)),)
	@$(BIN)/python -m tests.support.machine
endif

# --- what the targets stand on -------------------------------------------------------------------

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP) --editable '.[demo,fast]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP) --editable '.[dev,demo,fast]'
	@touch $@ $(VENV)/.run

$(BARE)/.dev: pyproject.toml | $(BARE)/bin/python
	$(BARE)/bin/python $(PIP) --editable '.[dev]' 'prometheus-client==0.16.0'
	@touch $@

%/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv" >&2; \
	    exit 1; }
	$(PYTHON) -m venv $*

# The tests use what they find of these, and say what they left out for want of them.
redis-server: PROGRAM = redis-server
iproute2: PROGRAM = ip
tmux: PROGRAM = tmux
nodejs: PROGRAM = node
redis-server iproute2 tmux nodejs:
	@command -v $(PROGRAM) >/dev/null && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $@ for the tests"; \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qy --no-install-recommends $@; \
	else \
	    echo "no $(PROGRAM) here: the tests that need one are left out (apt install $@)"; \
	fi

# One program out of a package that brings, and would start, a whole server. It needs libc only.
promtool:
	@command -v promtool >/dev/null && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing promtool for the tests" && set -e && apt-get update -q && \
	    folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && chmod 755 "$$folder" && \
	    (cd "$$folder" && apt-get download -q prometheus) && \
	    dpkg-deb --fsys-tarfile "$$folder"/prometheus_*.deb | \
	        tar --extract --to-stdout ./usr/bin/promtool >"$$folder/promtool" && \
	    install -D "$$folder/promtool" /usr/local/bin/promtool; \
	else \
	    echo "no promtool here: the tests of the alerts are left out (apt install prometheus)"; \
	fi

packaging-tools:
	@command -v dh_python3 >/dev/null && command -v scdoc >/dev/null && \
	    command -v lintian >/dev/null && command -v shellcheck >/dev/null && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing what builds the package"; \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qy --no-install-recommends build-essential debhelper dh-python \
	        dh-sequence-python3 dh-sequence-installsysusers pybuild-plugin-pyproject python3-all \
	        python3-setuptools bash-completion scdoc lintian shellcheck; \
	else \
	    echo "no debhelper here: the package cannot be built (see packaging/debian/control)"; \
	fi

containers:
	@command -v mmdebstrap >/dev/null && command -v systemd-nspawn >/dev/null && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing what boots containers"; \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qy --no-install-recommends mmdebstrap systemd-container; \
	else \
	    echo "no mmdebstrap and systemd-nspawn here: the tests on a booted Debian are left out"; \
	fi
