# Two commands: `make demo` and `make test`. Each sets up what it needs and is quick the second time.

.PHONY: all demo test test-faults setup build bench lint clean

all: build

setup:
	@scripts/setup

build: setup
	cargo build --release --locked

# DeepCluster on a thousand drawn images, three epochs.
demo: build
	target/release/dcpipe run pipelines/demo.yaml
	@echo "Open runs/demo/report.html in a browser. The tables are beside it."

test: setup
	@scripts/setup --readers
	DCPIPE_READERS=required cargo test --release --locked

# Kills, full disks, damage, company: what only a real system does to the built program. See docs/faults.md.
test-faults: build
	python3 tests/faults/run.py $(FAULTS)

lint: setup
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings

bench: build
	cargo bench --locked

clean:
	rm -rf target .native
