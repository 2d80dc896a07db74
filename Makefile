# `make demo` and `make test` need only Python 3.11 or newer. They create the environment `.venv`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test torture check lint types floors dead sbom lock bench clean

.venv/ready: pyproject.toml requirements-dev.txt dicom.sql
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: .venv/ready                          ## the main job on the real files of examples/quickstart
	@rm -rf build/demo && mkdir -p build && cp -r examples/quickstart build/demo
	@cd build/demo && PATH="$(CURDIR)/$(BIN):$$PATH" sh ../../examples/demo.sh

# More workers than processors, because many tests wait for a peer or a disk.
TESTS_AT_ONCE := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

test: .venv/ready                          ## the test suite
	$(BIN)/python -m pytest -n $(TESTS_AT_ONCE)

TESTS := tests/torture

torture: .venv/ready                       ## all of tests/torture, of which the test suite runs a part
	$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist worksteal --timeout 1800 --torture $(TESTS)

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready
	$(BIN)/mypy

floors: .venv/ready                        ## imports go downwards only
	$(BIN)/lint-imports

dead: .venv/ready                          ## find code that nothing uses, or only a test (the methods of compat are called only by its tests)
	$(BIN)/vulture pyconquest_rules bench docs tests/compat
	$(BIN)/vulture pyconquest_rules bench docs tests

check: lint types floors dead test         ## everything that must pass before a commit

sbom: .venv/ready                          ## a bill of materials of the environment: build/sbom.json
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json .venv/bin/python

lock:                                      ## update requirements-dev.txt to newer releases; needs uv
	uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --extra dev pyproject.toml -o requirements-dev.txt

# The peers have their own environment. If one of them cannot be installed, its rows of the table say so.
PEERS := build/bench/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps

bench: .venv/ready                         ## compare with the peers; writes docs/performance.md
	@test -d build/bench/venv || $(PYTHON) -m venv build/bench/venv
	-@$(PEERS) 'pydicom>=3,<4' 'pynetdicom>=3,<4' pyconquest==0.1.12
	-@$(PEERS) python-gdcm
	@$(BIN)/python -m bench --page docs/performance.md

clean:
	rm -rf .venv build dist
