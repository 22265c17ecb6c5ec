# Few targets, each sets up what it needs; a second run takes seconds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
EXTRAS := dev,cluster
ifeq ($(MAMORI_REQUIRE),all)
EXTRAS := dev,cluster,torch
endif

.PHONY: demo cluster-demo test explore lint clean

$(VENV)/base: pyproject.toml constraints.txt
	@echo "[1/2] making $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "[2/2] installing (about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/dev-$(EXTRAS): $(VENV)/base
	@echo "installing what the checks need: $(EXTRAS)"
	@case "$(EXTRAS)" in *torch*) $(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)";; esac
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

demo: $(VENV)/base
	@$(BIN)/mamori demo

# Three NATS servers, PostgreSQL, two gateways and two workers on this machine; nothing of it stays behind.
cluster-demo: $(VENV)/dev-$(EXTRAS)
	@$(BIN)/python -m benchmarks.cluster_demo

lint: $(VENV)/dev-$(EXTRAS)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Core and server each keep their share of lines and branches that the tests reach. What measures time, drives a browser or
# trains is run without the tracer.
UNTRACED := tests/e2e tests/faults tests/models
test: lint
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run -m pytest $(UNTRACED:%=--ignore=%)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report --include='detector/*' --skip-covered --fail-under=95
	@$(BIN)/python -m coverage report --include='server/*' --skip-covered --fail-under=90
	@$(BIN)/python -m pytest $(UNTRACED)

# Hypothesis and schemathesis with ever new examples, many times as many; a failure prints how to repeat it.
explore: $(VENV)/dev-$(EXTRAS)
	@MAMORI_LONG=1 $(BIN)/python -m pytest tests/detector/test_properties.py tests/detector/adapters/test_conformance.py \
	  tests/server/test_decoding.py tests/server/test_faulty_network.py tests/server/test_protocol_machine.py tests/server/test_schema.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis data out
