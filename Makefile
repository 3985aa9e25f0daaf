# make run    a server with two demo phones        make test   the whole test suite
# make check  tests, ruff and mypy                 make clean  removes all that these have made
#
# PYTHON=python3.12 chooses the interpreter, ARGS="--sip udp:0.0.0.0:5070" goes to the server or to pytest.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test lint check etc clean sipp

run: .venv/installed
	exec $(BIN)/twistd -n mizu --demo $(ARGS)

test: .venv/for-tests sipp
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/for-tests
	$(BIN)/ruff check mizu tests twisted bench plugins setup.py
	$(BIN)/ruff format --check mizu tests twisted plugins setup.py
	$(BIN)/mypy

check: lint test

etc: .venv/installed
	$(BIN)/python -m mizu.config_pages > etc/mizu.toml
	$(BIN)/python -m mizu.config_pages --rst > docs/settings.rst
	$(BIN)/python -m mizu.option_pages > docs/options.rst
	$(BIN)/python -m mizu.accounts.field_pages > docs/fields.rst

sipp:
	@.ci/prepare sipp

.venv/bin/python:
	PYTHON="$(PYTHON)" .ci/prepare venv

PACKAGED := setup.cfg setup.py pyproject.toml $(wildcard mizu/*.c)

.venv/installed: .venv/bin/python $(PACKAGED)
	$(PIP) install --editable .
	@touch $@

.venv/for-tests: .venv/bin/python $(PACKAGED)
	$(PIP) install --editable '.[test]'
	@touch $@ .venv/installed

clean:
	rm -rf .venv var build dist mizu/*.so *.egg-info .coverage .hypothesis .mypy_cache .ruff_cache twistd.pid twistd.log*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name dropin.cache -delete
