# The two commands are `make book` and `make test`; each makes .venv and installs what is missing.
#   make book       mini data, the quick profile run and compared with results/, then book/_build/html/index.html
#   make test       lint, tests and doctests       make lint       ruff, ty (types) and import-linter (layers)
#   make setup      .venv only                     make verify     rerun the quick profile, fail if it does not reproduce
#   make replicate  the small edition's tables (profile all), records that are missing;   make studies   single options
#   make fuzz       20,000 mutated inputs over all readers (FUZZ=n for another number); goes on where it stopped
#   make gpu-check  on a CUDA GPU: the tests that run on either device, then benchmarks/gpu.py
#                   (benchmarks/results/gpu.json: training step, Sonata, segment against the CPU)
#   make test-clients  readers by others (nuscenes-devkit, scenezoo, mlcroissant) on the mini data, and the extras
#                      open_clip, ai-edge-litert, viser, snakemake and others, in .venv-clients (0.9 GB)
#   make crash      kill commands at 50 random moments and run them again (CRASH_ARGS="--kills 10": fewer)
#   make page-speed seconds until each page of the built book can be used, in headless Chromium without a GPU
#   make pdf        the built book as one PDF, book/_build/geoguide-replicated.pdf (needs chromium and the extra pdf)
#   make lock       requirements.lock again, from constraints.txt (`make setup LOCKED=1` installs by its hashes)
#   make pair       notebooks/*.py -> *.ipynb      make clean      remove the built book and the caches
# On a machine without a GPU, PIP_ARGS can name an index that carries CPU builds of torch (elsewhere pip takes the CUDA
# build, which also works but is large):   make setup PIP_ARGS="--extra-index-url URL"
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup book test test-clients lint replicate studies verify data pair clean gpu-check fuzz crash page-speed lock pdf

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_ARGS ?=
PYTEST_ARGS ?= -n 2
FUZZ ?= 20000
CRASH_ARGS ?=
# STRICT=1: `make book` also fails when the quick profile does not reproduce the committed records.
STRICT ?= 0
# LOCKED=1: `make setup` takes every package but torch by version and hash from requirements.lock.
LOCKED ?= 0
LOCK_ARGS ?=
UV := uv==0.13.9
BIN := .venv/bin
INSTALLED := .venv/.installed
CLIENTS := .venv-clients
PACKAGES := import sysconfig; print(sysconfig.get_path("purelib"))
# Notebooks run in this environment, whatever kernels the user has installed elsewhere.
export JUPYTER_PREFER_ENV_PATH := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

help:
	@sed -n '1,/^SHELL/{/^#/s/^# \{0,1\}//p}' Makefile

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	[[ $(LOCKED) != 1 ]] || $(BIN)/python -m pip install -q $(PIP_ARGS) --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt -e '.[book,test]'
	touch $@

data: $(INSTALLED)
	$(BIN)/geoguide data make

# geoguide verify exits with 1 when the numbers differ: the book then says so on its page "Reproduced on this machine".
book: $(INSTALLED) data
	$(BIN)/geoguide verify --profile quick || { code=$$?; [[ $$code -eq 1 && $(STRICT) != 1 ]] || exit $$code; }
	$(BIN)/jupyter-book build --all -W -n --keep-going book/
	$(BIN)/python book/check_html.py book/_build/html

# Prints what `make book` has built; it builds nothing itself.
pdf: $(INSTALLED)
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt -e '.[pdf]'
	$(BIN)/python book/pdf.py

# One thread per worker: two workers with two threads each are slower on two cores.
test: $(INSTALLED) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) --cov=geoguide --cov-report=term:skip-covered

# The first line fails where a client is missing, for the tests would then be skipped.
test-clients: $(CLIENTS)/.installed
	$(CLIENTS)/bin/python -c 'import nuscenes.nuscenes, scenezoo, ai_edge_litert, mlcroissant, importlib.metadata as m; m.version("open_clip_torch")'
	PYTHONPATH=$(CURDIR)/$(CLIENTS)/extras $(BIN)/python -c 'import viser, snakemake'
	OMP_NUM_THREADS=1 $(CLIENTS)/bin/python -m pytest -p no:dash tests/clients tests/test_nuscenes_labels.py tests/test_nuscenes.py::test_equals_the_devkit \
		tests/test_open_clip_dense.py tests/test_text_clip.py tests/test_closed_set.py tests/test_data_card.py \
		tests/test_surveys.py tests/test_las_records.py tests/test_ranks.py tests/test_book_pdf.py
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(CLIENTS)/extras $(BIN)/python -m pytest tests/test_grid.py tests/test_viewer.py

# Its .pth file shows it the packages of .venv too: the clients need no torch, but the package that they are compared with.
$(CLIENTS)/.installed: tests/clients/requirements.txt tests/clients/extras.txt $(INSTALLED)
	$(BIN)/python -m venv --clear $(CLIENTS)
	echo "import site; site.addsitedir('$$($(BIN)/python -c '$(PACKAGES)')')" \
		> "$$($(CLIENTS)/bin/python -c '$(PACKAGES)')/also.pth"
	$(CLIENTS)/bin/python -m pip install -q $(PIP_ARGS) --no-deps -r tests/clients/requirements.txt
	$(BIN)/python -m pip install -q $(PIP_ARGS) --no-deps --target $(CLIENTS)/extras -r tests/clients/extras.txt
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
	$(BIN)/lint-imports --no-cache

# Stops at the first reader that fails; its smallest input is kept in .hypothesis/failed, and the next call begins there.
fuzz: $(INSTALLED)
	GEOGUIDE_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/robustness -k no_input_breaks --stepwise -s

gpu-check: $(INSTALLED)
	$(BIN)/python -m pytest --device cuda
	$(BIN)/python benchmarks/gpu.py

page-speed: $(INSTALLED)
	$(BIN)/python book/page_speed.py book/_build/html

crash: $(INSTALLED)
	OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python benchmarks/crash.py $(CRASH_ARGS)

verify: $(INSTALLED) data
	$(BIN)/geoguide verify --profile quick

replicate: $(INSTALLED) data
	$(BIN)/geoguide replicate

studies: $(INSTALLED) data
	$(BIN)/geoguide replicate --profile studies

# uv prefers what the file to write already holds: here the versions of .venv. The last two lines leave out the libraries of
# torch's CUDA build, which differ from build to build, and keep the header that explains it.
lock: $(INSTALLED)
	test -x .venv-lock/bin/uv || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip install -q '$(UV)'; }
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -e ' @ ' -e + > .venv-lock/new
	.venv-lock/bin/uv pip compile -q pyproject.toml --extra book --extra test -c constraints.txt --universal \
		--python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-package torch $(LOCK_ARGS) -o .venv-lock/new
	{ sed '/^#/!Q' requirements.lock; awk '/^[a-z]/ {cuda = /^(nvidia|cuda|triton)/} !cuda' .venv-lock/new; } > .venv-lock/whole
	mv .venv-lock/whole requirements.lock

pair: $(INSTALLED)
	$(BIN)/python book/pair.py

clean:
	rm -rf book/_build book/assets .coverage .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
