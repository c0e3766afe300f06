# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0

# Every command works from a fresh clone and needs nothing but Python 3.11 or newer: it makes .venv and installs there.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Nothing is downloaded once the packages are installed.
export HF_HUB_OFFLINE := 1
# Importing torch and transformers takes three times as long where Python may not keep what it compiled.
unexport PYTHONDONTWRITEBYTECODE
# Scripts find `accelerate` and `python` of the environment, not others.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# What the page that runs a model in the reader's browser loads.
LIVE := docs/assets/live/built/model/model.onnx
# Two test processes, one thread each: tiny tensors gain nothing from more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=10

.PHONY: help demo test test-wheel test-app test-export test-slow docs lint format clean

help:
	@echo "make demo       pictures of a small model, then a training that is shown in a page, into runs/demo"
	@echo "make test       run the tests (with AIT_TEST_DATA and AIT_TEST_GOLDEN set, all of them)"
	@echo "make test-wheel install a wheel without this clone, and run its main job"
	@echo "make test-app   run the tests of the app, and of pages in Chromium; needs Chromium and npm"
	@echo "make test-export run the tests of exports and other runtimes"
	@echo "make test-slow  run the tests that take minutes"
	@echo "make docs       build the documentation as a site, into build/site; needs npm"
	@echo "make lint       check style"
	@echo "make format     mend style"
	@echo "make clean      remove .venv, caches and build outputs; runs/ stays"

demo: $(VENV)/.installed-demo
	$(BIN)/python scripts/demo.py

test: $(VENV)/.installed-dev
	$(PYTEST)

test-wheel: $(VENV)/.installed-dev
	$(PYTEST) -m slow tests/test_wheel.py

# In an environment of its own: gradio holds Pillow back, which reads other files and resizes otherwise than the newest.
test-app: $(VENV)/.installed-dev $(LIVE)
	$(MAKE) VENV=.venv-app .venv-app/.installed-dev,app
	OMP_NUM_THREADS=1 .venv-app/bin/python -m pytest -m "not slow" tests/app
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser --ignore tests/app

# Apart from the others: OpenVINO and torch.export leave threads behind, after which no training can be forked.
test-export: $(VENV)/.installed-dev
	$(PYTEST) -m "export and not slow"

test-slow: $(VENV)/.installed-dev
	$(PYTEST) -m slow

# Some pages are made first, of what commands say of themselves. The theme's advertisement of its successor is left out.
docs: $(VENV)/.installed-dev $(LIVE)
	$(BIN)/python docs/building/generated_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# npm fetches ONNX Runtime Web for it.
$(LIVE): docs/building/live_model.py src/ait_hf/checkpoints/rooms/model.safetensors | $(VENV)/.installed-dev
	$(BIN)/python docs/building/live_model.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamp comes last and every step may be repeated, so an interrupted installation is simply gone through again.
# uv rather than pip: it picks versions of torch and torchvision that belong together.
$(VENV)/.installed-%: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --python $(BIN)/python --editable ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) .venv-app build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find src scripts tests -name __pycache__ -prune -exec rm -rf {} +
