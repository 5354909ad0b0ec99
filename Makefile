# `make demo` and `make test` do all the set-up that they need.

export CARGO ?= cargo
# The folder with Tiny Core's own files, for the tests that read them.
TINYCORE := $(wildcard $(CURDIR)/../shared/tinycore-11)
ifneq ($(TINYCORE),)
export TCFORGE_TINYCORE ?= $(TINYCORE)
endif

.PHONY: all demo test lint unit fuzz bench clean

all:
	ci/install-packages build
	$(CARGO) build --release --locked

# The main job, on what the package registries alone can give.
demo:
	ci/install-packages build demo
	ci/demo

# Everything that CI runs; the end says what failed.
test:
	ci/install-packages build demo test
	ci/test

lint:
	ci/install-packages build test
	ci/lint

unit:
	ci/install-packages build demo test
	$(CARGO) test --locked --no-fail-fast

# A minute for each parser of hostile input.
fuzz:
	ci/install-packages build fuzz
	ci/fuzz

# Speed and size against mksquashfs, as ratios in one run.
bench:
	ci/install-packages build demo test bench
	ci/bench

clean:
	$(CARGO) clean
	rm -rf out
