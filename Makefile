# The In-situ Explorer. `make dashboard` is all that a reader needs; `make help` lists the rest.
# Written for GNU make 3.81 (macOS) and newer.

PORT ?= 8866
LAB_PORT := $(if $(filter file,$(origin PORT)),8888,$(PORT))
PYTHON ?=
VENV ?= .venv
HANDOUT ?= build/handout
JOBS ?= 2

ifeq ($(OS),Windows_NT)
  BIN := $(VENV)/Scripts
else
  BIN := $(VENV)/bin
endif
RUN := "$(BIN)/python" -m
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)
TEMPLATE := $(wildcard share/jupyter/voila/templates/insitu/*)
PACKAGING := pyproject.toml constraints.txt tools/install.sh $(TEMPLATE)

.PHONY: help dashboard classroom lab handout test lint bench screenshots clean

help:
	@echo 'make dashboard   install what is missing, then open the explorer on http://127.0.0.1:$(PORT)/'
	@echo 'make classroom   open the notebooks to a class, on every network of this machine (classroom_config.py)'
	@echo 'make lab         open the notebooks in JupyterLab, on port $(LAB_PORT)'
	@echo 'make handout     write the course as pages that open from a file, offline, into $(HANDOUT)'
	@echo 'make test        install the test tools, then run every test and check style and types'
	@echo 'make lint        check style and types only'
	@echo 'make bench       measure against the named peers and floors'
	@echo 'make screenshots take the pictures of README.md and docs/ anew'
	@echo 'make clean       remove caches and build products (and leave $(VENV))'
	@echo
	@echo 'PORT=8867        another port            PYTHON=python3.12   another interpreter'
	@echo 'JOBS=4           test so many files at a time instead of two (those that keep time stay alone)'
	@echo 'VENV=.venv       where to install; remove that folder to install afresh'

dashboard: $(VENV)/.installed
	@$(RUN) insitu_widgets.serve --port '$(PORT)'

classroom: $(VENV)/.installed
	@$(RUN) insitu_widgets.classroom --config=classroom_config.py --port='$(PORT)'

lab: $(VENV)/.installed
	@$(RUN) jupyterlab --port='$(LAB_PORT)' $(AS_ROOT) notebooks/00_start_here.ipynb

handout: $(VENV)/.installed-test
	@$(RUN) insitu_widgets.explorer.handout --out '$(HANDOUT)'

screenshots: $(VENV)/.installed-test
	@$(RUN) tests.browser.chromium --install
	@$(RUN) tests.browser.screenshot

test: $(VENV)/.installed-test
	@$(RUN) tests.browser.chromium --install
	@$(RUN) pytest -m 'not realtime' -n '$(JOBS)' --dist loadfile
	@$(RUN) pytest -m realtime
	@$(MAKE) --no-print-directory lint

lint: $(VENV)/.installed-test
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy

bench: $(VENV)/.installed-test
	@$(RUN) benchmarks

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .jupyter_cache
	find . -name '$(notdir $(VENV))' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '$(notdir $(VENV))' -prune -o -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# A stamp is written last, so that an installation that was cut short does not look complete.
$(VENV)/.installed: $(PACKAGING)
	@rm -f '$@'
	@PYTHON='$(PYTHON)' sh tools/install.sh '$(VENV)'
	@touch '$@'

$(VENV)/.installed-test: $(PACKAGING)
	@rm -f '$@'
	@PYTHON='$(PYTHON)' sh tools/install.sh '$(VENV)' test
	@touch '$(VENV)/.installed' '$@'
