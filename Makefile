# Few targets, each sets up what it needs; a second run takes seconds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
EXTRAS := dev
ifeq ($(MAMORI_REQUIRE),all)
EXTRAS := dev,torch
endif

.PHONY: demo test test-all lint clean

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

lint: $(VENV)/dev-$(EXTRAS)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: lint
	@$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis data out
