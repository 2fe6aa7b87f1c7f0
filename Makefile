# Two commands: `make up` runs the venue, `make test` runs what a change must pass. Both install what is missing first.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help up up-check test test-only lint bench deep lock install clean

BIN := $(CURDIR)/.venv/bin
# Arguments of `afterbell up`, and of pytest in `make test`.
ARGS ?=
# The part of `make deep`: a folder of tests/; empty means every part.
PART ?=

# Commands find vyper and anvil without an activated venv; ape's data folder and its caches stay in the checkout.
export PATH := $(BIN):$(CURDIR)/node_modules/.bin:$(PATH)
export APE_DATA_FOLDER := $(CURDIR)/.build/ape
export PYTHONDONTWRITEBYTECODE := 1
# Settings of the person's own machine must not reach the venue or the tests.
unexport PYTHONPATH PYTHONHOME PYTEST_ADDOPTS

help:
	@echo 'make up [ARGS="--speed 3"]     install what is missing, run the venue: chain, contracts, sequencer, page'
	@echo 'make up-check                  the same until a fill is final on chain, then exit 0'
	@echo 'make test [ARGS="-k order"]    install what is missing, run everything a change must pass'
	@echo 'make lint                      style, types, import directions'
	@echo 'make bench                     every benchmark: a table and artifacts/bench.json'
	@echo 'make deep [PART=crash]         long runs of the folder tests/PART, or of all'
	@echo 'make lock                      resolve the locks again after a change of dependencies'
	@echo 'make clean                     remove what make made, and the state of the local venue'

up:
	@scripts/install.sh runtime node
	@exec afterbell up $(ARGS)

up-check:
	@scripts/install.sh runtime node
	@scripts/up_check.sh $(ARGS)

install:
	@scripts/install.sh dev node-dev browser

lint: install
	ruff check .
	mypy
	lint-imports --no-cache

test: install
	@scripts/test.sh $(ARGS)

bench: install
	@mkdir -p artifacts
	afterbell bench all --json artifacts/bench.json

deep: install
	@scripts/deep.sh $(PART)

lock:
	@scripts/lock.sh

clean:
	rm -rf .venv .build node_modules browser/node_modules var artifacts offchain/afterbell.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find offchain scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
