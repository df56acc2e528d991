# Two commands on a fresh machine: `make demo` and `make test`. They need Python 3.11 and make, and set up the rest in .venv.
#   make test ARGS='-k money'     passes arguments on
#   make test PY=python3.12       picks the Python; so does PY=python3.12 make test

PY ?= python3
ARGS ?=
# Programs are started as modules: the scripts in .venv/bin contain an absolute path, which breaks with spaces or a move.
VENV := .venv/bin/python

# Tests start Kvit as a process many times. Without bytecode files each process compiles it again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-all test-postgres check format lock python run-ready dev-ready

help:
	@echo 'make demo     run the demo in a browser, with a fake Stripe and Telegram; ARGS=--tour plays by itself'
	@echo "make test     run the tests, without the long ones; ARGS='-k money' selects some"
	@echo 'make test-all run every test, also the long matrices and storms'
	@echo 'make test-postgres runs the tests of storage, journeys and reports again, on PostgreSQL'
	@echo 'make check    run what a change has to pass: format, lint, types, requirements, every test'
	@echo 'make format   format the code'
	@echo 'make lock     write requirements/*.txt from pyproject.toml, with uv; ARGS=--upgrade takes newer versions'
	@echo 'PY=/path/to/python3.11 selects the Python for any of them.'

demo: run-ready
	@$(VENV) -m bot demo $(ARGS)

test: dev-ready
	@$(VENV) -m pytest -n auto --dist worksteal -m 'not long' $(ARGS)

test-all: dev-ready
	@$(VENV) -m pytest -n auto --dist worksteal $(ARGS)

# Only tests that do not name a database: those of several replicas are part of the others.
test-postgres: dev-ready
	@KVIT_TEST_DATABASE=postgresql $(VENV) -m pytest -n auto --dist worksteal -W error -m 'not long and not sqlite' \
		tests/storage tests/journeys tests/reports tests/chat/test_find.py tests/chat/test_audit_log.py \
		tests/operations/test_scheduled_reports.py tests/payments/test_movements.py tests/web/test_receipts.py $(ARGS)

check: dev-ready
	$(VENV) -m ruff format --check .
	$(VENV) -m ruff check .
	$(VENV) -m mypy
	$(VENV) scripts/requirements.py check
	$(VENV) -m pytest -n auto --dist worksteal -W error

format: dev-ready
	$(VENV) -m ruff check --fix .
	$(VENV) -m ruff format .

lock: python
	@"$(PY)" scripts/requirements.py lock $(ARGS)

run-ready dev-ready: python
	@"$(PY)" scripts/bootstrap.py $(@:-ready=)

python:
	@command -v "$(PY)" >/dev/null || { echo 'There is no $(PY) here: install Python 3.11 or newer, or set PY=/path/to/python3.11.' >&2; exit 1; }
