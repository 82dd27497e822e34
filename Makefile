# Works on a fresh clone with Python 3.10-3.14, make and pip's registry. `make help` lists the targets.

VENV   = .venv
PY     = $(VENV)/bin/python
STAMP  = $(VENV)/.ugatit_mm-installed
# The interpreter to use, PYTHON=/path/to/python; by default the first below that fits.
PYTHON =
PYTHONS = python3.13 python3.12 python3.11 python3.10 python3.14 python3
RANGE  = import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))

# No value: Python keeps what it compiles. Else each process would compile all that it imports.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help demo test test-slow test-long test-all lint format docs doctor install clean

help:
	@echo 'make demo      translate with U-GAT-IT, end to end (tools/demo.py)'
	@echo 'make test      ruff, mypy and the fast tests'
	@echo 'make test-slow the tests that start many processes or take long'
	@echo 'make test-long those that take longest'
	@echo 'make test-all  all three'
	@echo 'make lint      ruff and mypy'
	@echo 'make format    fix and format the sources with ruff'
	@echo 'make docs      build the site of README.md and docs/ into site/'
	@echo 'make doctor    check the environment'
	@echo 'make install   build $(VENV); the targets above do so if needed'
	@echo 'make clean     remove caches and build folders, never $(VENV), data or results'

demo: $(STAMP)
	@$(PY) tools/demo.py

# Run the tests that -m selects, $(1), in $(2) processes. On two cores three are quicker where many
# tests wait for processes of their own.
define run_tests
	@$(PY) -m pytest -n $(2) --dist loadfile --no-loadscope-reorder -m '$(1)' || { \
	    status=$$?; \
	    if [ $$status -eq 5 ]; then echo 'make $@: pytest found no tests' >&2; fi; \
	    exit $$status; }
endef

test: lint
	$(call run_tests,not slow and not long,2)

test-slow: $(STAMP)
	$(call run_tests,slow and not long,3)

test-long: $(STAMP)
	$(call run_tests,long,3)

test-all: test test-slow test-long

lint: $(STAMP)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: $(STAMP)
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

# The warning is about MkDocs 2; see setup.cfg.
docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

doctor: $(STAMP)
	@$(PY) -m ugatit_mm.doctor

install: $(STAMP)

# The stamp is written last: an interrupted install is repeated.
$(STAMP): setup.cfg setup.py pyproject.toml
	@rm -f $@
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    found=; \
	    for python in $(if $(PYTHON),'$(PYTHON)',$(PYTHONS)); do \
	        if "$$python" -c 'import venv, ensurepip; $(RANGE)' >/dev/null 2>&1; then \
	            found=$$python; break; \
	        fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo 'No usable Python found (tried: $(if $(PYTHON),$(PYTHON),$(PYTHONS))).' >&2; \
	        echo 'Install Python 3.10 to 3.14 with its venv module (Debian: apt install' >&2; \
	        echo 'python3 python3-venv), or name one: make PYTHON=/path/to/python3.13' >&2; \
	        exit 1; \
	    fi; \
	    echo "Making $(VENV) with $$($$found --version)"; \
	    "$$found" -m venv $(VENV); \
	fi
	@$(PY) -c '$(RANGE)' || { \
	    echo '$(VENV) holds a Python other than 3.10-3.14: remove it and try again' >&2; exit 1; }
	@echo 'Installing ugatit_mm and its dependencies into $(VENV): minutes and about 7 GB at first'
	@$(PY) -m pip install --disable-pip-version-check 'pip>=23.1'
	@# pip compiles one file after the other, compileall on all cores.
	@$(PY) -m pip install --disable-pip-version-check --no-compile -e '.[test]'
	@$(PY) -m compileall -qq -j 0 $(VENV)/lib ugatit_mm || true  # two files are for other Pythons
	@touch $@

clean:
	rm -rf build dist site ugatit_mm.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find ugatit_mm configs tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
