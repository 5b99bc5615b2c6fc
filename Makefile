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
.PHONY: help setup speedrun test test-slow test-all lint bench gate gpu gpu-a gpu-b gpu-rehearsal gpu-rehearsal-short wheel lock

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

test: ## the quick tests, in JOBS processes (default: one for each core): 11 to 23 minutes on 2 cores
	$(call setup_for,test)
	$(pytest) -m "not slow"

test-slow: ## the slow tests: random kills, fuzzing, long runs, stock ffcv, other libraries (PART=2/6: every sixth, from the second on)
	$(call setup_for,test)
	$(pytest) -m slow $(if $(PART),--part=$(PART))

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

gpu-rehearsal: gpu-rehearsal-short ## without a GPU: tests on a GPU machine's stack, all kernels compiled, steps traced, gpu-a and gpu-b in small (PHOTOS=FOLDER_OR_TAR)
	.venv-rehearsal/bin/python -m pytest --numprocesses=$(JOBS) --dist=worksteal -m "not gpu" $(rehearsed)
	scripts/each_triton.sh .venv-rehearsal/bin/python -m pytest -q --no-header -k "aot or interpreted" \
		tests/test_aot.py tests/data/gpu/test_resize.py tests/models/test_triton_blur.py
	.venv-rehearsal/bin/python -m benchmarks trace --blurpool off,convolution,triton --check
	.venv-rehearsal/bin/python -m benchmarks trace --blurpool convolution --combo-kernels on --check
	scripts/gpu_rehearse.sh $(PHOTOS)

gpu-rehearsal-short: ## what .ci/run has of it: every module imported, GPU tests collected, an H200's kernels compiled by each Triton, a step traced
	@VENV=.venv-rehearsal scripts/setup.sh test rehearsal
	.venv-rehearsal/bin/python -m pytest -q --no-header tests/test_imports.py
	.venv-rehearsal/bin/python -m pytest --collect-only -qq -m gpu
	scripts/each_triton.sh .venv-rehearsal/bin/python -m pytest -q --no-header -m "not slow" tests/test_aot.py
	.venv-rehearsal/bin/python -m benchmarks trace --arch resnet18 --blurpool convolution --resolution 128 --check

gpu: ## all that needs a GPU, in two parts of 330 s: gpu-a, and gpu-b after mending; results in OUT (default: .)
	@$(MAKE) --no-print-directory --keep-going gpu-a gpu-b

gpu_part = $(PYTHON) -m benchmarks gpu $(1) $(if $(DATA),--data $(DATA)) $(if $(REHEARSE),--rehearse)

gpu-a: ## the first part (REHEARSE=1: in small, also without a GPU)
	$(call setup_for,gpu)
	$(call gpu_part,a)

gpu-b: ## the second part
	$(call setup_for,gpu)
	$(call gpu_part,b)

wheel: ## build an installable wheel in dist/, for Linux machines without a compiler, apt packages or root
	$(call setup_for,test)
	@PYTHON=$(PYTHON) scripts/wheel.sh

lock: ## update requirements/ after a change of dependencies in pyproject.toml (UPGRADE=1: newest versions)
	scripts/lock.sh
