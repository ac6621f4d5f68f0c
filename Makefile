# Thin aliases over meson and ninja. `make run` and `make test` install what is missing first.
# Everything else assumes scripts/deps.sh has run once.

BUILD ?= build
PORT ?= 9090

.PHONY: all build run test unit demo bench asan tsan fuzz crash soak fmt tidy clean deps

all: build

deps:
	@scripts/deps.sh build

$(BUILD)/build.ninja:
	@scripts/deps.sh build
	@meson setup $(BUILD) >/dev/null

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

run: deps build
	@scripts/run.sh $(BUILD)/tocsin

# Everything: gcc and clang, unit, promql, fuzz corpora, tidy, sanitizers, end to end.
test:
	@scripts/deps.sh test
	@python3 scripts/test.py

# The quick loop while working on one thing.
unit: build
	@meson test -C $(BUILD) --no-rebuild --print-errorlogs --suite unit

demo:
	@scripts/deps.sh test
	@$(MAKE) --no-print-directory build
	@.venv/bin/python tests/producer/demo.py $(BUILD)/tocsin

bench:
	@scripts/deps.sh test
	@python3 bench/run.py

asan:
	@python3 scripts/test.py --only asan

tsan:
	@python3 scripts/test.py --only tsan

fuzz:
	@python3 scripts/fuzz.py

# The crash campaigns, much longer than in the tests; CRASH_SEED moves on to other seeds.
crash: build
	@scripts/crash.sh $(BUILD)

# Ten minutes of everything at once under each sanitizer.
soak:
	@scripts/soak.sh

fmt:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

tidy: build
	@meson test -C $(BUILD) --no-rebuild --print-errorlogs --suite tidy

clean:
	@rm -rf build build-*
