# chaosgate: the verbs. `make gate` and `make test` do all set-up themselves; CI uses the same ones.
PYTHON ?= python3
PY := .venv/bin/python
GATE_SET := experiments/etcd/steady.yaml experiments/etcd/leader-partition.yaml experiments/etcd/slow-follower.yaml \
	experiments/etcd/lossy-links.yaml experiments/etcd/quorum-lost.yaml experiments/streaming/one-after-another.yaml
.DEFAULT_GOAL := help
.PHONY: help setup setup-test gate gate-all test check format bench bench-bad-release bench-recovery clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

setup:  ## virtual environment, Python packages, etcd, Kafka, Flink (idempotent)
	@$(PYTHON) tools/bootstrap.py

setup-test:
	@$(PYTHON) tools/bootstrap.py --for-tests

gate: setup  ## gate a real etcd, Kafka and Flink on the embedded target: a curated set, under 8 minutes
	@$(PY) -m chaos.cli run $(GATE_SET); code=$$?; echo "exit code of the gate: $$code"; exit $$code

gate-all: setup  ## the same with every experiment
	@$(PY) -m chaos.cli run experiments/*/*.yaml; code=$$?; echo "exit code of the gate: $$code"; exit $$code

test: setup-test  ## every test, those on real namespaces and real servers included
	@failed=0; \
	$(PY) -m pytest tests -q -n 2 -m "not alone" || failed=1; \
	$(PY) -m pytest tests -q -m alone || failed=1; \
	exit $$failed

check: setup-test  ## lint, types and the fast tests, for while you work
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m pytest tests -q -m "not real and not slow and not vm"

format:  ## format the sources
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: setup-test  ## measure shaper, checker, generator and overhead; prints the tables of benchmarks/README.md
	@$(PY) benchmarks/run.py

bench-bad-release: setup-test  ## etcd 3.5.1 (known bad) and two sound versions, ten times each
	@$(PY) benchmarks/bad_release.py

bench-recovery: setup-test  ## how soon a Flink job's output is back after each kind of fault, ten times each (30 minutes)
	@$(PY) benchmarks/recovery.py

clean:  ## remove what set-up made in this folder (the cache outside it stays)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
