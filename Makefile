# Every target makes the environment it needs. `make help` lists them.
.DEFAULT_GOAL := help
VENV ?= .venv
BUILD ?= build
JOBS ?= 2
EPOCHS ?= 25
CLIPS ?= 156
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

.PHONY: help env quickstart test check format benchmark clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(INSTALLED) ## make the environment in .venv, with the versions of constraints.txt

$(INSTALLED): setup.cfg pyproject.toml constraints.txt src/modeling_asm/__init__.py
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

quickstart: env ## speak a small data set, train on it, and classify a file: less than three minutes on two cores
	rm -rf "$(BUILD)/quickstart" "$(BUILD)/spoken_words"
	$(PYTHON) examples/make_spoken_words.py --output_dir $(BUILD)/spoken_words --clips_per_word $(CLIPS)
	$(PYTHON) examples/train.py --data_dir $(BUILD)/spoken_words --output_dir $(BUILD)/quickstart \
		--group_column voice --num_train_epochs $(EPOCHS)
	$(PYTHON) -m modeling_asm.classify --model $(BUILD)/quickstart $(BUILD)/spoken_words/test/yes_000.wav

test: env ## run all tests, offline (ASM_DATA=folder of the recorded sets adds those that need them; JOBS=processes)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: env ## check style
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: env ## format the code
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

benchmark: env ## time every stage beside transformers' AST: an hour (DATA=folder of recordings)
	$(PYTHON) examples/benchmark.py --checkpoint checkpoints/asm-small-keywords $(if $(DATA),--data_dir "$(DATA)") \
		--output $(BUILD)/benchmark.json --plot $(BUILD)/benchmark.png

clean: ## remove the environment and everything that was built
	rm -rf "$(VENV)" "$(BUILD)"
