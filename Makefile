# Bazar: what can be done here. `make` alone lists it.

CONFIG ?= config/local.toml
FUZZ_SECONDS ?= 60

.PHONY: help run build test fuzz bench bench-peers faults cost check clean-data toolchain

help: ## List what can be done (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

run: toolchain ## Run the whole shop on this machine; CONFIG=config/pair.toml takes another configuration
	cargo run --locked --release -- --role all --config $(CONFIG)

build: toolchain ## Build the executable, target/release/bazar
	cargo build --locked --release

test: toolchain ## Run all tests, those of the documentation too
	cargo test --locked

fuzz: toolchain ## Send random requests for a minute, and compare the answers with and without the fast path; FUZZ_SECONDS=600 for longer
	FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --locked --test http whatever_comes

bench: toolchain ## Measure the shop on this machine, in under three minutes; ARGS=--quick only tries, ARGS=--help tells more
	cargo bench --locked --bench lab -- $(ARGS)

bench-peers: toolchain ## Measure the shop beside nginx, HAProxy, etcd and PostgreSQL, in under four minutes; ARGS as above
	cargo bench --locked --bench peers -- $(ARGS)

faults: toolchain ## Measure how long there is no service after each of two dozen faults, in eleven minutes; ARGS=--help tells more
	cargo bench --locked --bench faults -- $(ARGS)

cost: toolchain ## Count instructions and compare with the baseline (needs valgrind); RECORD=1 records a new one
	cargo bench --locked --bench cost -- $(if $(RECORD),--record)

check: toolchain ## Check format, lints and documentation
	@./.ci/run check

clean-data: ## Remove ./data: all books, orders and logs of the shop on this machine
	rm -rf ./data

toolchain:
	@./.ci/toolchain
