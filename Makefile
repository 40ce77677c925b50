# The short front of the Meson build. `make help` lists what it can do.
#
# BUILD, PREFIX, DESTDIR, J, TESTS and BENCH_ARGS may be set on the command line:
#   make install PREFIX=/usr DESTDIR=/tmp/stage      make test TESTS='str links-alone-*'
#   make bench-memory BENCH_ARGS='--quick'

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
J ?= $(shell nproc 2>/dev/null || echo 2)
TESTS ?=
BENCH_ARGS ?=
FUZZ_SECONDS ?= 3600

# Instrumented code makes gcc guess wrongly about lengths; the other builds are strict.
LOOSE = -Ddebug_checks=true -Db_lundef=false -Dwerror=false
ASAN = -Db_sanitize=address,undefined $(LOOSE)
TSAN = -Db_sanitize=thread $(LOOSE)

.DEFAULT_GOAL = all
.PHONY: all deps test check install bench bench-cache bench-memory bench-stall bench-instructions bench-client bench-cluster bench-hitratio bench-replication chaos chaos-replication tidy format sim fuzz model asan tsan debug clean help needs

all: needs ## build build/larder-server, build/larder and the library (the default)
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix=$(PREFIX)
	@ninja -C $(BUILD) -j $(J)

needs: # say what is missing before meson says it in its own way
	@scripts/deps --missing build

deps: ## install what a build needs (apt; root or sudo)
	@scripts/deps build

test: all ## run the unit tests
	@meson test -C $(BUILD) --print-errorlogs --no-rebuild $(TESTS)

check: ## run every test there is; installs what they need (the same as ./check)
	@./check

install: all ## install programs, library, headers and the systemd unit below PREFIX
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@ninja -C $(BUILD) -j $(J)
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

bench: ## measure beside redis-server and memcached (installs them; takes its time)
	@scripts/deps build run bench
	@$(MAKE) --no-print-directory all
	@bench/run $(BENCH_ARGS)

bench-memory: ## bytes a key and RSS under churn beside redis-server and memcached (takes half an hour)
	@scripts/deps build run bench
	@$(MAKE) --no-print-directory all
	@bench/memory $(BENCH_ARGS)

bench-cache: ## a CACHE.GET hit beside GET, stampedes, purges in a cluster (takes a few minutes)
	@scripts/deps build run bench
	@$(MAKE) --no-print-directory all
	@bench/cache $(BENCH_ARGS)

bench-stall: ## p99.9 while something large happens, beside redis-server (takes half an hour)
	@scripts/deps build run bench
	@$(MAKE) --no-print-directory all
	@bench/stall $(BENCH_ARGS)

bench-instructions: ## count instructions per GET and SET beside redis-server, by callgrind
	@scripts/deps build run bench instructions
	@$(MAKE) --no-print-directory all
	@bench/run --instructions $(BENCH_ARGS)

bench-client: ## liblarder beside hiredis (BENCH_ARGS='--instructions': counted, not timed)
	@scripts/deps build run bench instructions client
	@$(MAKE) --no-print-directory all
	@bench/client $(BENCH_ARGS)

bench-cluster: ## failover, handover and moving slots beside redis-server's cluster (a quarter of an hour)
	@scripts/deps build run bench
	@$(MAKE) --no-print-directory all
	@bench/cluster $(BENCH_ARGS)

bench-hitratio: ## misses at equal memory: traces replayed to larder, redis-server and memcached (BENCH_ARGS='--trace FILE')
	@scripts/deps build run bench
	@$(MAKE) --no-print-directory all
	@bench/hitratio $(BENCH_ARGS)

bench-replication: ## p99.9 and memory while copies are made, cost of the log, MB/s of a full sync (half an hour; BENCH_ARGS="--rounds 1": six minutes)
	@scripts/deps build run bench
	@$(MAKE) --no-print-directory all
	@bench/replication $(BENCH_ARGS)

chaos: ## kill, freeze, cut off, slow down nodes of a cluster while clients write (CHAOS_ARGS='--rounds 100 --seed 1'; root)
	@scripts/deps build run test
	@$(MAKE) --no-print-directory all
	@test -e tests/clients/node_modules || npm ci --prefix tests/clients --no-audit --no-fund
	@/usr/bin/python3 tests/integration/chaos.py $(CHAOS_ARGS)

chaos-replication: ## kill -9 nodes and links at random moments (CHAOS_ARGS='--rounds 300 --seed 1')
	@scripts/deps build run test
	@$(MAKE) --no-print-directory all
	@/usr/bin/python3 tests/integration/replication_chaos.py $(CHAOS_ARGS)

tidy: ## check layers, lengths, bans and formatting
	@scripts/tidy

format: ## rewrite every source file with clang-format
	@scripts/tidy --list | xargs clang-format -i

asan: needs ## build with ASan and UBSan in build-asan
	@test -f $(BUILD)-asan/build.ninja || meson setup $(BUILD)-asan $(ASAN)
	@ninja -C $(BUILD)-asan -j $(J)

tsan: needs ## build with TSan in build-tsan
	@test -f $(BUILD)-tsan/build.ninja || meson setup $(BUILD)-tsan $(TSAN)
	@ninja -C $(BUILD)-tsan -j $(J)

debug: needs ## build with every assertion, unoptimised, in build-debug
	@test -f $(BUILD)-debug/build.ninja || meson setup $(BUILD)-debug -Ddebug_checks=true -Doptimization=0
	@ninja -C $(BUILD)-debug -j $(J)

sim: all ## run RUNS (1000) simulated clusters from SEED (1) on; MOVES=1: slots move in them
	@$(BUILD)/tests/sim/sim $(if $(MOVES),--moves) $(or $(SEED),1) $(or $(RUNS),1000)

fuzz: needs ## run the fuzz targets, FUZZ_SECONDS each (3600)
	@scripts/fuzz $(FUZZ_SECONDS)

model: asan tsan ## walk STEPS (2000000) random steps beside the models, from SEED (0), under both sanitizers
	@BUILD=$(BUILD) scripts/model $(or $(STEPS),2000000) $(SEED)

clean: ## remove what builds and runs have left in the tree
	@rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-debug $(BUILD)-fuzz .run/check

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 28
