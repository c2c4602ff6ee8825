# Every target creates the environment that it needs. `make help` lists them.
.DEFAULT_GOAL := help
VENV ?= .venv
BUILD ?= build
JOBS ?= 3
EPOCHS ?= 25
CLIPS ?= 156
BASE ?= python3
RESOLUTION ?= highest
TESTS ?= tests
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
PYTEST_OPTIONS := -n $(JOBS) --dist loadfile --no-loadscope-reorder
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(PYTEST_OPTIONS)
OTHER := $(BUILD)/venvs/$(notdir $(BASE))-$(RESOLUTION)
TRANSFORMERS := $(BUILD)/transformers

.PHONY: help env quickstart test test-long test-fast test-versions test-upstream mutants check format docs results sync benchmark clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(INSTALLED) ## create the environment in .venv, with the versions in constraints.txt

$(INSTALLED): setup.cfg pyproject.toml constraints.txt src/modeling_asm/__init__.py
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

quickstart: env ## generate a small data set, train on it and classify a file: under three minutes on two cores
	rm -rf "$(BUILD)/quickstart" "$(BUILD)/spoken_words"
	$(PYTHON) research/make_spoken_words.py --output_dir $(BUILD)/spoken_words --clips_per_word $(CLIPS)
	$(PYTHON) -m modeling_asm.commands.train --data_dir $(BUILD)/spoken_words --output_dir $(BUILD)/quickstart \
		--size tiny --group_column voice --num_train_epochs $(EPOCHS)
	$(PYTHON) -m modeling_asm.commands.classify --model $(BUILD)/quickstart $(BUILD)/spoken_words/test/yes_000.wav

test: env ## run the tests, offline: under ten minutes (ASM_DATA=folder of recorded data sets, JOBS=processes)
	$(PYTEST) -m "not long"

test-long: env ## run the tests of whole procedures: several processes, killed runs, studies, benchmarks
	$(PYTEST) -m long

test-fast: env ## run the tests that take less than a few seconds each: under three minutes
	$(PYTEST) -m "not slow"

test-versions: env ## run the tests elsewhere (BASE=python3.13 RESOLUTION=highest or lowest-direct TESTS="-m 'not slow'")
	$(VENV)/bin/uv venv --quiet --clear --python $(BASE) $(OTHER)
	$(VENV)/bin/uv pip install --quiet --python $(OTHER)/bin/python --resolution $(RESOLUTION) --only-binary :all: \
		--no-binary modeling_asm -e ".[test,quantization]"
	OMP_NUM_THREADS=1 $(OTHER)/bin/python -m pytest -p no:cacheprovider $(PYTEST_OPTIONS) $(TESTS)

test-upstream: env ## run transformers' own common tests, from its source distribution, on our classes
	rm -rf "$(TRANSFORMERS)" && mkdir -p "$(TRANSFORMERS)"
	$(PYTHON) -m pip download --quiet --no-deps --no-binary transformers --dest "$(TRANSFORMERS)" \
		"transformers==$$($(PYTHON) -c 'import transformers; print(transformers.__version__)')"
	tar -xzf "$(TRANSFORMERS)"/*.tar.gz -C "$(TRANSFORMERS)" --strip-components 1
	RUN_SLOW=1 TRANSFORMERS_SOURCE="$(abspath $(TRANSFORMERS))" $(PYTHON) -m pytest tests/upstream \
		-o addopts=--import-mode=importlib -W ignore -rs

mutants: env ## run mutation tests: hours (PARTS="windows metrics")
	$(PYTHON) tests/mutants.py $(PARTS)

check: env ## check the style
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: env ## format the code
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: env ## build the documentation in build/docs; warnings are errors
	$(PYTHON) -m sphinx -q -W --keep-going -b html docs "$(BUILD)/docs"

results: env ## write every figure of docs and README from research/results
	$(PYTHON) research/write_results.py

sync: env ## copy the code that travels into the released checkpoints, and render their cards
	$(PYTHON) research/sync_checkpoints.py

benchmark: env ## time every stage beside transformers' AST: an hour (DATA=folder of recordings)
	$(PYTHON) research/benchmark.py --checkpoint checkpoints/asm-small-keywords $(if $(DATA),--data_dir "$(DATA)") \
		--output $(BUILD)/benchmark.json --plot $(BUILD)/benchmark.png

clean: ## remove the environment and everything that was built
	rm -rf "$(VENV)" "$(BUILD)"
