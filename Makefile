# Everything a checkout needs: only make and a Python of at least 3.11 are taken for granted.
# The environment is made once; the stamp's name carries this folder, so a moved or copied checkout
# makes its own instead of running the code at the old place.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: venv run test lint bundle bench bench-compare nightly system install uninstall clean help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell pwd -P | cksum | cut -d' ' -f1)
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
# 3.11 first: it is the version that torch's wheel is pinned and tested for
PYTHON ?= python3.11 python3.12 python3.13 python3
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
ARGS ?=
PREFIX ?= /opt/metaensemble
DESTDIR ?=
# most of the suite waits for sockets and processes, so two workers halve it even on two cores
SPREAD ?= -n 2 --dist loadfile

# Compiled kernels live and die with the environment
export NUMBA_CACHE_DIR ?= $(CURDIR)/$(VENV)/numba-cache

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## make or refresh .venv (nothing to do: nothing done)

run: $(STAMP) ## trade on the built-in exchange; make run ARGS="--for 60s --json"
	@$(BIN)/metaensemble run $(ARGS)

test: $(STAMP) ## run the tests; make test ARGS="tests/risk -x"
	@$(BIN)/python -m pytest -q $(SPREAD) $(ARGS)

lint: $(STAMP) ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

bundle: $(STAMP) ## train the shipped model bundle anew (minutes); make bundle ARGS="--seed 8"
	@$(BIN)/metaensemble train --market trending --market-bars 60000 --expires-days 0 \
		--out strategy/bundles/default $(ARGS)

bench: $(STAMP) ## time every stage beside its baseline, then the budgets of tests/benchmarks
	@$(BIN)/metaensemble bench $(ARGS)
	@$(BIN)/python -m pytest -q -m bench tests/benchmarks

bench-compare: $(STAMP) ## bench, held against earlier runs here; fails where a form became slower
	@$(BIN)/metaensemble bench --history .bench $(ARGS)

nightly: $(STAMP) ## the slow suites, hours; make nightly ARGS="tests/daemon/test_flash_crash.py -s"
	@$(BIN)/python -m pytest -q -m nightly $(or $(ARGS),tests)

system: $(STAMP) ## boot a real systemd (252 and 257) and try every unit; needs root, minutes
	@BOOT=$${METAENSEMBLE_BOOT_SYSTEMD:-../shared/tools/boot-systemd.sh}; \
	METAENSEMBLE_BOOT_SYSTEMD=$$(realpath $$BOOT) \
	  $(BIN)/python -m pytest -q -m system tests/system $(ARGS)

install: ## install as a service under /opt/metaensemble (as root); PREFIX=, DESTDIR=, PYTHON=
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' \
	  PYTHON='$(if $(filter file,$(origin PYTHON)),,$(PYTHON))' systemd/setup.sh install

uninstall: ## take it away again; configuration, keys and state stay
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' systemd/setup.sh uninstall

clean: ## remove caches and build products; .venv stays (rm -rf .venv removes it)
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
	  .coverage htmlcov $(VENV)/numba-cache
	@find . -name $(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and alone, exactly as pinned: whatever follows must fit it, never the reverse
$(STAMP): pyproject.toml constraints.txt
	@set -eu; \
	for stamp in $(VENV)/.installed-*; do \
	  case $$stamp in '$@' | '$(VENV)/.installed-*') ;; *) rm -rf $(VENV) ;; esac; \
	done; \
	rm -f $@; \
	if ! $(BIN)/python -c 'import pip; $(USABLE)' >/dev/null 2>&1; then \
	  chosen=; \
	  for candidate in $(PYTHON); do \
	    if "$$candidate" -c '$(USABLE)' >/dev/null 2>&1; then chosen=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$chosen" ]; then \
	    echo "make: none of '$(PYTHON)' is a Python of at least 3.11 with venv;" \
	      "name one (make PYTHON=/path/to/python3) or install it (Debian: apt install python3-venv)" >&2; exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$chosen" --version); this happens once." >&2; \
	  "$$chosen" -m venv --clear $(VENV); \
	fi; \
	$(PIP) torch==2.13.0; \
	$(PIP) -c constraints.txt hatchling editables; \
	$(PIP) -c constraints.txt --no-build-isolation -e '.[test,lint,sdk]'; \
	touch $@
