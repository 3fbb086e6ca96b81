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

# Every step beside what people use now: one table, in docs/benchmarks.md. Rows 1 to 5 and 11 to 14 need photographs:
#   make bench IMAGES=DIR [ROWS="1 8"] [SMALL=1]
bench: build
	@scripts/setup --peers
	.native/peers/bin/python benches/run.py $(ROWS) $(if $(IMAGES),--images $(IMAGES)) $(if $(SMALL),--small)

clean:
	rm -rf target .native
