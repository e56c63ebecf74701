# Everything happens in a virtual environment of its own. `make help` documents itself from the ## lines.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/local.yaml
## TORCH=...   where torch comes from. A laptop on Linux gets the small CPU build with
##             make demo TORCH='torch --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0

BIN := $(VENV)/bin
FINREG := $(BIN)/finreg
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-leases leases test test-slow lint bench bench-ingest bench-generate bench-train clean ingest generate finetune evaluate all doctor status

help: ## this list
	@grep -hE '^[a-z-]+( [a-z-]+)*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo
	@sed -n 's/^## //p' $(MAKEFILE_LIST)
	@echo "CONFIG=...  the YAML of ingest, generate, finetune, evaluate and all (now $(CONFIG))"

demo: $(VENV)/.train ## the whole pipeline on the sample regulations: about ten minutes on two cores
	$(FINREG) models pull
	$(FINREG) all --config configs/local.yaml
	@echo "open lakehouse/_finreg/reports/latest.html"
	@echo "look: $(FINREG) status --lineage -c configs/local.yaml, or show qa_dataset -c configs/local.yaml"
	@echo "ask:  $(FINREG) ask 'What does Sample Reporting Regulation Article 18(3) require the institution to do?' -c configs/local.yaml"

demo-leases: $(VENV)/.train ## structured extraction, fewer and shorter leases: a quarter of an hour on two cores
	$(FINREG) models pull
	$(FINREG) all --config configs/leases-demo.yaml
	@echo "open lakehouse/_finreg/reports/latest.html"
	@echo "try: $(FINREG) extract data/leases/pdf/*.pdf -c configs/leases-demo.yaml"

leases: $(VENV)/.train ## structured extraction in full: all sample leases, two rounds, three models: more than an hour on two cores
	$(FINREG) models pull
	$(FINREG) all --config configs/leases.yaml
	@echo "open lakehouse/_finreg/reports/latest.html"

test: $(VENV)/.dev ## the fast tests (minutes)
	$(FINREG) models pull
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.dev ## the slow tests: real training, the whole pipeline, a JVM
	$(FINREG) models pull
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

lint: $(VENV)/.dev ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## every benchmark, with what it is compared to in the same run
	$(BIN)/python benchmarks/help_startup.py

bench-ingest: $(VENV)/.dev ## reading PDFs beside other readers, which it installs on first use: a quarter of an hour
	$(FINREG) models pull
	$(BIN)/python benchmarks/ingest.py

bench-generate: $(VENV)/.dev ## an endpoint driven by finreg, a bare client and other generators, installed on first use: 45 minutes
	$(BIN)/python benchmarks/generate.py

bench-train: $(VENV)/.dev ## training beside plain TRL on the same rows
	$(FINREG) models pull
	$(BIN)/python benchmarks/train.py

ingest generate finetune evaluate all doctor status: $(VENV)/.train ## one stage (or check) with CONFIG=...
	$(FINREG) $@ --config $(CONFIG)

clean: ## remove the environment, the caches and what the demo wrote
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -rf lakehouse mlflow.db

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch first and alone, because only its index may differ.
$(VENV)/.train: $(VENV)/.made pyproject.toml
	$(PIP) $(TORCH)
	$(PIP) --editable '.[train]'
	touch $@

$(VENV)/.dev: $(VENV)/.train
	$(PIP) --editable '.[all]'
	touch $@
