# Two commands: `make demo` runs a whole rehearsal campaign, `make test` the tests.
# Each does its own set-up in .venv and is quick when repeated.
.PHONY: demo test lint types clean FORCE
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHON
# an environment of another Python than the package supports, or than was asked for, is made again
STALE := $(shell PYTHON='$(PYTHON)' sh scripts/find_python $(VENV) || echo FORCE)

demo: $(INSTALLED)
	$(BIN)/defect-workflows run flows/CdTe_v_Cd/campaign.yaml --workdir runs/demo --rehearse

# two processes of one thread each, the jobs of rehearsals included; a file of tests after the other
test: $(INSTALLED)
	OMP_NUM_THREADS=1 LOKY_MAX_CPU_COUNT=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

$(INSTALLED): pyproject.toml scripts/find_python $(STALE)
	@python=$$(sh scripts/find_python) && \
	echo "Making $(VENV) with $$python and installing (several GB, a few minutes) ..." && \
	$$python -m venv $(if $(STALE),--clear) $(VENV) && \
	$(BIN)/python -m pip install --quiet --editable '.[rehearsal,dev]' && \
	touch $@

FORCE:

clean:
	rm -rf $(VENV) runs
