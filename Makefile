# Everything here needs only Python >= 3.10 and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long torture docs lint format bench clean install

demo: install ## make .venv, install, run kd-train: teacher, student alone, distilled student, one table
	$(BIN)/kd-train

test: lint ## all but what takes long by nature; under fifteen minutes on two cores
	$(BIN)/pytest --numprocesses 2 -m "not slow"

test-long: install ## kills, processes, many seeds, real data: what `make test` leaves out
	$(BIN)/pytest --numprocesses 2 -m slow

torture: install ## kills, damages, full disks, ranks, other people's folders, random configs: by the dozen, in a table
	$(BIN)/python -m tests.torture $(KINDS)

docs: .venv/installed-docs ## the site of docs/, with the reference of conf/ and of the Python interface, in site/
	$(BIN)/python docs/build_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: .venv/installed

# Made again whenever the dependencies change.
.venv/installed: pyproject.toml
	@echo "Installing into .venv, once: 3.3 GB to download (PyTorch with CUDA), 7 GB on disk; 2 minutes, and 5 for the download at 100 Mbit/s"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

.venv/installed-docs: .venv/installed
	@$(BIN)/python -m pip install --quiet --editable ".[docs]"
	@touch $@

.venv/installed-bench: .venv/installed
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	touch $@

bench: .venv/installed-bench ## speed beside a plain loop and torchdistill: make bench [ROOT=folder of cifar-100-python/ and imagenet/]
	$(BIN)/python -m benchmarks.speed $(ROOT)

clean: ## what was made here, but not the data or the runs
	rm -rf .venv dist build site docs/reference .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
