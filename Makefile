# The project's commands. `make speedrun` and `make test` set up all they need on a fresh Debian/Ubuntu machine.
#
#   make PYTHON=python3 TARGET   uses that Python and installs nothing (an offline machine, a conda environment)
#   make setup SET=lower         installs the oldest supported torch (a V100, an older driver); also SET=default, dev, rehearsal

PYTHON ?= .venv/bin/python
SET ?= auto
STAGE ?= loader
# Test processes: one for each core.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup speedrun test test-slow test-all lint bench gate gpu gpu-rehearsal lock

setup_for = $(if $(filter .venv/bin/python,$(PYTHON)),@scripts/setup.sh $(1) $(2))
results = benchmarks/results/$(1)_$(shell date +%F).json

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: ## install missing system packages, uv, and the locked environment in .venv
	$(call setup_for,setup,$(SET))

speedrun: ## the complete job on small real images: convert, train, check the target, write a report
	$(call setup_for,speedrun)
	@$(PYTHON) -m engine speedrun

pytest = $(PYTHON) -m pytest --numprocesses=$(JOBS) --dist=worksteal

test: ## the quick tests, in JOBS processes (default: one for each core): 8 minutes on 2 cores
	$(call setup_for,test)
	$(pytest) -m "not slow"

test-slow: ## the slow tests: random kills, fuzzing, long runs, stock ffcv, other libraries
	$(call setup_for,test)
	$(pytest) -m slow

test-all: test test-slow ## every test that this machine can run

lint: ## style, format, types
	$(call setup_for,lint)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

bench: ## run one benchmark on this machine (STAGE=loader|memory|startup|..., AGAINST=peer, DATA=images); writes its record to benchmarks/results/
	$(call setup_for,bench)
	$(PYTHON) -m benchmarks $(STAGE) $(if $(AGAINST),--against $(AGAINST)) $(if $(DATA),--data $(DATA)) \
		--json $(call results,$(STAGE)_$(shell nproc)-cores)

gate: ## optional: short benchmarks compared with the last committed records (STAGES=loader,decode,...)
	$(call setup_for,bench)
	$(PYTHON) -m benchmarks gate --stages $(or $(STAGES),loader) $(if $(DATA),--data $(DATA))

rehearsed = tests/data/gpu tests/data/loading tests/models tests/train/augment tests/train/evaluation tests/train/optimizers tests/train/step

gpu-rehearsal: ## without a GPU: tests of torch, Triton and numba on a GPU machine's stack (Python 3.12, torch 2.11)
	@VENV=.venv-rehearsal scripts/setup.sh test rehearsal
	.venv-rehearsal/bin/python -m pytest --numprocesses=$(JOBS) --dist=worksteal -m "not gpu" $(rehearsed)
	.venv-rehearsal/bin/python -m pytest --collect-only -q -m gpu | tail -n 1

gpu_name = $(shell nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 | tr -s ' /' '--')

# If a part fails the next ones still run, so that a machine rented for minutes gives as many results as possible. Parts
# that compile or compare much have a limit in seconds; measurements until then are recorded.
gpu: ## run every GPU test and GPU benchmark; writes records to benchmarks/results/
	$(call setup_for,gpu)
	@$(PYTHON) -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else \
		"make gpu: torch sees no CUDA device here; `$(PYTHON) -m engine doctor` says why")'
	@failed=; \
	$(PYTHON) -m pytest -m gpu || [ $$? -eq 5 ] || failed="$$failed tests"; \
	$(PYTHON) -m benchmarks resize --json $(call results,resize_$(gpu_name)) || failed="$$failed resize"; \
	$(PYTHON) -m benchmarks loader --form cuda --ours jpeg,yuv420-packed --resolution 128,224 --scale 0.35 \
		--seconds 1 --images 20000 $(if $(DATA),--data $(DATA)) --json $(call results,loader_$(gpu_name)) \
		|| failed="$$failed loader"; \
	timeout -s INT 180 $(PYTHON) -m benchmarks step --blurpool on --resolution 224,192,160,128 --seconds 0.3 \
		--json $(call results,step_$(gpu_name)) || failed="$$failed step"; \
	timeout -s INT 70 $(PYTHON) -m benchmarks step --blurpool off --resolution 224 --seconds 0.3 \
		--json $(call results,step-without-blurpool_$(gpu_name)) || failed="$$failed step-without-blurpool"; \
	timeout -s INT 70 $(PYTHON) -m benchmarks overhead --steps 60 --rounds 5 \
		--json $(call results,overhead_$(gpu_name)) || failed="$$failed overhead"; \
	timeout -s INT 40 $(PYTHON) -m benchmarks blurpool --resolution 192 --precision bf16 --batch 128 --seconds 0.1 \
		--json $(call results,blurpool_$(gpu_name)) || failed="$$failed blurpool"; \
	timeout -s INT 40 $(PYTHON) -m benchmarks augment --seconds 0.1 \
		--json $(call results,augment_$(gpu_name)) || failed="$$failed augment"; \
	timeout -s INT 70 $(PYTHON) -m benchmarks techniques --resolution 160 --batch 64 --seconds 0.05 \
		--json $(call results,techniques_$(gpu_name)) || failed="$$failed techniques"; \
	[ -z "$$failed" ] || { echo "make gpu: failed:$$failed"; exit 1; }

lock: ## update requirements/ after a change of dependencies in pyproject.toml (UPGRADE=1: newest versions)
	scripts/lock.sh
