# SPDX-License-Identifier: GPL-3.0-or-later
# Everything one does with this project. `make help` lists it.

PROFILE ?= release
PREFIX  ?= /usr/local
DESTDIR ?=
SEEDS   ?= 200
NODES   ?= 3
MINUTES ?= 5
EFFORT  ?= 10
FIRST   ?= 0
CARGO   ?= cargo

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BIN        := $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
PROFILE_ARG := --profile $(PROFILE)

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what building and testing need (Debian 12 or later, as root)
	@tests/tools/setup

.PHONY: build
build: ## build the programs (PROFILE=release or dev)
	$(CARGO) build --workspace --bins $(PROFILE_ARG)
	@ln -sf ctdb-mutex-fcntl $(BIN)/ctdb_mutex_fcntl_helper

.PHONY: test
test: setup ## all tests, with what they need; those with real clusters want root
	$(MAKE) --no-print-directory build PROFILE=dev
	$(CARGO) test --workspace --exclude ctdb-tests
	CTDBD=$(abspath $(TARGET_DIR))/debug/ctdbd $(CARGO) test -p ctdbcore --test daemon
	RUST_TEST_THREADS=4 $(CARGO) test -p ctdb-tests

.PHONY: demo
demo: setup build ## three nodes, Debian's smbd on each, one killed and taken back
	$(BIN)/demo

.PHONY: cluster
cluster: build ## a shell inside a running cluster (NODES=3)
	$(BIN)/cluster $(NODES)

.PHONY: bench
bench: build ## our cluster and Debian's in turn: table, target/bench/results.json
	$(BIN)/bench --out target/bench/results.json $(BENCH_ARGS)
	$(BIN)/bench-tdb --out target/bench/results.json

.PHONY: bench-tdb
bench-tdb: ## our TDB engine and libtdb in turn (BENCH_ARGS=--instructions counts them with valgrind)
	@tests/tools/setup $(if $(findstring --instructions,$(BENCH_ARGS)),valgrind)
	$(CARGO) build -p ctdb-tests --bin bench-tdb $(PROFILE_ARG)
	$(BIN)/bench-tdb --out target/bench/results.json $(BENCH_ARGS)

.PHONY: bench-tool
bench-tool: build ## our ctdb and Debian's on the same daemons, from start to end
	$(BIN)/bench-tool --out target/bench/results.json $(BENCH_ARGS)

.PHONY: smbtorture
smbtorture: build ## all smbtorture tests against the known results; docs/compatibility.md
	$(BIN)/torture --report docs/compatibility.md $(TORTURE_ARGS)

.PHONY: golden
golden: ## record anew what Debian's ctdb prints on scripted daemons (tests/golden/tool)
	$(MAKE) --no-print-directory build PROFILE=dev
	CTDB_GOLDEN=record $(CARGO) test -p ctdb-tests --test tool golden

.PHONY: compare
compare: build ## our ctdb beside Debian's on clusters of both kinds; docs/tool-compatibility.md
	$(BIN)/compare --report docs/tool-compatibility.md $(COMPARE_ARGS)

.PHONY: sim
sim: ## simulated clusters under random faults (SEEDS=200, FIRST=0)
	$(CARGO) run --quiet --release -p ctdb-engine --example sim -- $(SEEDS) $(FIRST)

.PHONY: soak
soak: build ## minutes of killed nodes, and of killed processes on TDB files, under checkers of all they acknowledged (MINUTES=5)
	$(BIN)/soak-tdb --minutes $(MINUTES)
	$(BIN)/soak --minutes $(MINUTES) $(SOAK_ARGS)

.PHONY: crash
crash: ## stop the machine anywhere in transactions on TDB files; docs/tdb-tests.md (EFFORT=10)
	TDB_CRASH_EFFORT=$(EFFORT) $(CARGO) test --release -p ctdb-tdb --lib crash_tests -- --nocapture

.PHONY: fuzz
fuzz: ## damaged TDB files through every call; docs/tdb-tests.md (MINUTES=5)
	FUZZ_MINUTES=$(MINUTES) $(CARGO) test --release -p ctdb-tdb --test arbitrary -- --ignored --nocapture for_minutes

.PHONY: fmt-check
fmt-check: ## source is formatted
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy: ## no warnings
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: schema
schema: ## the schema of ctdb --json, docs/ctdb-json.schema.json
	$(CARGO) run --quiet -p docgen -- schema docs/ctdb-json.schema.json

.PHONY: man
man: ## manual pages of the programs, into target/man
	$(CARGO) run --quiet -p docgen -- man target/man

.PHONY: completions
completions: ## completions of bash, zsh and fish, into target/completions
	$(CARGO) run --quiet -p docgen -- completions target/completions

# the daemon looks for its helper beside itself, then in a directory that is built in: /usr/libexec/ctdb
# unless told otherwise, which builds the daemon once more
USER_PROGRAMS   := ctdb onnode ltdbtool ping_pong ctdb_diagnostics
HELPER_PROGRAMS := ctdb-mutex-fcntl ctdb-event ctdb-config ctdb-path ctdb_natgw ctdb_lvs

.PHONY: install
ifneq ($(PREFIX),/usr)
install: export CTDB_BUILD_HELPERDIR = $(PREFIX)/libexec/ctdb
endif
install: build ## install under $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/ctdb
	install -m 755 $(BIN)/ctdbd $(DESTDIR)$(PREFIX)/sbin/ctdbd
	install -m 755 $(addprefix $(BIN)/,$(USER_PROGRAMS)) $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(addprefix $(BIN)/,$(HELPER_PROGRAMS)) $(DESTDIR)$(PREFIX)/libexec/ctdb
	ln -sf ctdb-mutex-fcntl $(DESTDIR)$(PREFIX)/libexec/ctdb/ctdb_mutex_fcntl_helper
	$(BIN)/docgen man $(DESTDIR)$(PREFIX)/share/man
	$(BIN)/docgen completions $(DESTDIR)$(PREFIX)/share

.PHONY: clean
clean: ## remove what was built
	$(CARGO) clean
