# The workbook in one word: `make workbook` runs it, `make lab` opens it, `make test` checks it.
# Every path is relative and every tool is run through .venv/bin/python, so the folder may have a space in its name.

.DEFAULT_GOAL := help
.PHONY: help setup workbook student lab slides site test quick bench notebooks clean
SHELL := /bin/sh

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Another interpreter: make PYTHON=/path/to/python3.12 setup
PYTHON ?=
IN_RANGE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
# Idle threads sleep instead of spinning: small images are 100 times faster when the cores are busy.
export OMP_WAIT_POLICY ?= PASSIVE

say = printf '\n\033[1m== %s\033[0m\n'

help:  ## this list
	@echo "medsr: a workbook on medical image super-resolution. Usage: make TARGET"
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do printf '  %-10s %s\n' "$$name" "$$text"; done

setup: .venv/.installed  ## create .venv with the exact versions of requirements.lock (once)

# The stamp is written last: a set-up that was interrupted is done again.
.venv/.installed: requirements.lock pyproject.toml
	@rm -f .venv/.installed
	@found=; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python); do \
	    if "$$candidate" -c '$(IN_RANGE)' >/dev/null 2>&1; then found="$$candidate"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "medsr needs Python 3.11, 3.12 or 3.13 with its venv module (Debian, Ubuntu: apt install python3-venv), and found none$(if $(PYTHON), at PYTHON=$(PYTHON)). Install one, or name it: make PYTHON=/path/to/python3 setup" >&2; exit 1; \
	fi; \
	if ! $(PY) -c '$(IN_RANGE)' >/dev/null 2>&1 || ! $(PIP) --version >/dev/null 2>&1; then \
	    echo "Creating .venv with $$found ($$("$$found" --version))"; \
	    "$$found" -m venv --clear .venv; \
	fi
	@$(say) "set-up 1/3: torch (a large download where the registry's torch is the CUDA build; see README.md, Set-up)"
	@$(PIP) install --constraint requirements.lock torch==2.13.0
	@$(say) "set-up 2/3: the other packages of requirements.lock (about a minute)"
	@$(PIP) install --quiet --no-deps --requirement requirements.lock
	@$(say) "set-up 3/3: the workbook itself"
	@PYTHONWARNINGS=ignore $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@mkdir -p .venv/share/jupyter/lab/settings
	@printf '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}\n' \
	    > .venv/share/jupyter/lab/settings/overrides.json
	@mkdir -p .venv/etc/jupyter && cp medsr_workbook/jupyter_nbconvert_config.json .venv/etc/jupyter/
	@touch .venv/.installed

workbook: .venv/.installed  ## run all notebooks on the embedded data: results in runs/, scores in the terminal
	@$(PY) -m medsr_workbook run --out runs

# student, or lecturer: the notebooks themselves, with their output and the solutions
EDITION ?= student
$(if $(filter student lecturer,$(EDITION)),,$(error EDITION is student or lecturer, not "$(EDITION)"))

student: .venv/.installed  ## write the student's edition to build/student/: nothing run, exercises blank, answers hidden
	@$(PY) -m medsr_workbook.editions

lab: .venv/.installed $(filter student,$(EDITION))  ## open the student's edition in JupyterLab (EDITION=lecturer: the full one), this machine only
	@$(PY) -m jupyterlab --ServerApp.ip=localhost --ServerApp.root_dir=. \
	    --LabApp.default_url=/lab/tree/$(if $(filter student,$(EDITION)),build/student,notebooks)/00_zoom_and_enhance.ipynb \
	    $$(if [ "$$(id -u)" = 0 ]; then echo --allow-root; fi)

slides: .venv/.installed  ## slides of all notebooks, in build/slides/: HTML files for any browser, without a network
	@$(PY) -m medsr_workbook.slides

# student: without the lecturer's guide and the solutions
site: EDITION = lecturer
site: .venv/.installed .venv-site/.installed  ## the workbook as a web site, in build/site/: searchable, without a network (EDITION=student: to hand out)
	@rm -rf build/pages build/doctrees build/site
	@$(PY) -m medsr_workbook.site --edition $(EDITION)
	@PYTHONPATH=.venv-site $(PY) -m sphinx -W --keep-going -q -c docs -d build/doctrees build/pages build/site
	@echo "open build/site/index.html"

# A folder of packages that only the site needs, beside those of .venv
.venv-site/.installed: requirements-site.lock | .venv/.installed
	@rm -rf .venv-site
	@$(PIP) install --quiet --no-deps --target .venv-site --requirement requirements-site.lock
	@touch .venv-site/.installed

test: .venv/.installed  ## everything that must hold: style, types, tests, and every notebook's stored output
	@$(say) "test 1/4: ruff"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(say) "test 2/4: mypy"
	@$(PY) -m mypy
	@$(say) "test 3/4: pytest"
	@$(PY) -m coverage run -m pytest tests
	@$(PY) -m coverage report | tail -n 25
	@$(say) "test 4/4: nbval, every cell's output as stored"
	@$(PY) -m pytest --nbval --nbval-current-env notebooks

quick: .venv/.installed  ## style, types and the quick tests, in about a minute
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@export OMP_NUM_THREADS=1; $(PY) -m mypy & types=$$!; $(PY) -m pytest -q -m "not slow" tests/medsr_core & core=$$!; \
	$(PY) -m pytest -q -m "not slow" tests --ignore tests/medsr_core; rest=$$?; wait $$types && wait $$core && exit $$rest

bench: .venv/.installed-bench  ## compare with other packages (installs a few more)
	@for script in benchmarks/[a-z]*.py; do $(say) "$$script"; $(PY) "$$script" || exit 1; done

.venv/.installed-bench: .venv/.installed requirements-bench.lock
	@$(PIP) install --quiet --no-deps --requirement requirements-bench.lock
	@touch .venv/.installed-bench

notebooks: .venv/.installed  ## re-execute the notebooks in place and store their output (before committing a change)
	@$(PY) -m medsr_workbook.runner refresh

clean:  ## remove .venv and caches; your results in runs/ and what you wrote in build/student/ stay
	@rm -rf .venv .venv-site .coverage build/bdist* build/lib build/slides build/pages build/doctrees build/site *.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find medsr_core medsr_workbook data_fetch tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
