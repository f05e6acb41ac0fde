# make help lists the targets. Building, testing and trying need Go, make, git
# and a shell; nothing else.

GO       = go
BIN      = bin
PREFIX   = /usr/local
DESTDIR  =
# Seconds; the machine may be slow.
TIMEOUT  = 900s
# Of etcd, for test-etcd.
VERSIONS = 3.4 3.5 3.6 3.7

TOOLS    = $(notdir $(wildcard cmd/conch-*))
SHELLS   = bash zsh fish
SCRIPTS  = dev/try dev/find-etcd dev/test-etcd .ci/run

# How conch is built, here and nowhere else. The entry point is pkg/proc/entry:
# it notes what the process was given before the runtime changes it, and refuses
# what the runtime would die of. The race detector needs cgo, whose linker knows
# nothing of it.
ENTRY    = -E conch_start
ifdef RACE
  BUILD  = CGO_ENABLED=1 $(GO) build -race -trimpath -tags grpcnotrace
  TEST   = CGO_ENABLED=1 $(GO) test -race -tags grpcnotrace
else
  BUILD  = CGO_ENABLED=0 $(GO) build $(LEAN) -trimpath -tags grpcnotrace -ldflags='-s -w $(ENTRY)'
  TEST   = CGO_ENABLED=0 $(GO) test -tags grpcnotrace
endif

# Without what etcd's client links for nothing: see dev/lean. It does not go with
# GOFLAGS=-mod=vendor, nor is it needed.
ifeq (,$(findstring vendor,$(GOFLAGS)))
  LEAN     = -mod=mod -modfile=$(LEAN_MOD)
  LEAN_MOD = .cache/lean.mod
endif
.cache/lean.mod: go.mod go.sum $(wildcard dev/lean/*/go.mod)
	@mkdir -p .cache
	@cp go.sum .cache/lean.sum
	@cp go.mod $@.new
	@$(GO) mod edit -replace github.com/grpc-ecosystem/grpc-gateway/v2=./dev/lean/grpc-gateway \
		-replace google.golang.org/genproto/googleapis/api=./dev/lean/googleapis \
		-replace github.com/golang/protobuf=./dev/lean/protobuf $@.new
	@mv $@.new $@

.PHONY: all build links standalone etcd test test-etcd test-binaries promises ticks cronsim bench bench-cron bare try gen check fmt vet staticcheck \
	shellcheck man-lint gen-check install uninstall clean help

all: build ## build bin/conch and a link to it for each tool

build: $(LEAN_MOD) ## the same; BIN=DIR puts them elsewhere, RACE=1 adds the race detector
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN)/conch ./cmd/conch
	@for t in $(TOOLS); do ln -sf conch $(BIN)/$$t; done

standalone: $(LEAN_MOD) ## build each tool as a program of its own, to bin/standalone
	@mkdir -p $(BIN)/standalone
	$(BUILD) -o $(BIN)/standalone/ $(addprefix ./cmd/,$(TOOLS))

etcd: ## build the pinned etcd and etcdctl to .cache (a minute, once)
	@dev/find-etcd -b

test: ## run all tests against a real etcd; RACE=1 as above, ARGS=... to go test
	@CONCH_ETCD=$$(dev/find-etcd) && export CONCH_ETCD && set -x && \
	$(TEST) -timeout $(TIMEOUT) $(ARGS) ./...

test-etcd: ## run them against one etcd after another: VERSIONS="3.4 3.5 3.6 3.7"
	@MAKE="$(MAKE)" dev/test-etcd $(VERSIONS)

# For running the tests where there is no Go: .ci/run does so as another user.
test-binaries: ## compile the tests of every package to BIN/tests
	@mkdir -p $(BIN)/tests
	$(TEST) -c -o $(BIN)/tests/ ./...

# Faults in network namespaces, as root; cut roads otherwise. SEEDS=5 FOR=10m is
# the whole of it.
SEEDS    = 1
FOR      = 90s
promises: build ## strike contenders and their etcd with faults; count overlaps; SEEDS=1 FOR=90s
	@mkdir -p .cache
	@CONCH_ETCD=$$(dev/find-etcd) && export CONCH_ETCD && set -x && \
	$(GO) build -o .cache/promises ./proof/promises && \
	.cache/promises --bin $(BIN) --seeds $(SEEDS) --for $(FOR) $(ARGS)

bench: ## measure conch beside etcdctl, flock and a bare client: a table, five minutes
	@etcd=$$(dev/find-etcd -b) && $(MAKE) -s build bare BIN=.cache/bench && \
	CONCH_ETCD=$$etcd $(GO) run -tags grpcnotrace ./proof/bench \
		--bin .cache/bench --etcdctl "$${etcd%/*}/etcdctl-$${etcd##*/etcd-}" $(ARGS)

ticks: ## strike cron's runners and their etcd with faults, edit and pause jobs; account for ticks; FOR=90s
	@CONCH_ETCD=$$(dev/find-etcd) && export CONCH_ETCD && set -x && \
	$(TEST) -timeout 0 ./pkg/runner -run TestFaults -v -faults-for $(FOR) $(ARGS)

cronsim: ## put cron's planners through simulated trouble, on all processors; FOR=90s
	@mkdir -p .cache
	$(GO) build -tags grpcnotrace -o .cache/cronsim ./proof/cronsim
	.cache/cronsim --for $(FOR) $(ARGS)

bench-cron: ## measure what cron costs, beside its peers: a table, eight minutes
	@etcd=$$(dev/find-etcd -b) && $(MAKE) -s build BIN=.cache/bench && \
	CONCH_ETCD=$$etcd $(GO) run -tags grpcnotrace ./proof/benchcron --bin .cache/bench $(ARGS)

# What conch is measured against is built as conch is, but has no entry of its own,
# and all that etcd's client links.
bare: ENTRY =
bare: LEAN =
bare:
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN) ./proof/bench/bare ./proof/bench/stamp

try: ## an etcd, an election, a take-over, a schedule: 15 seconds, and everything is gone again
	@dev/try

gen: build ## write man/ and completions/ from the tools' own tables
	@mkdir -p man completions .cache
	@for t in conch $(TOOLS); do \
		echo "man/$$t.1"; $(BIN)/$$t --man >man/$$t.1 || exit; \
		for s in $(SHELLS); do \
			echo "completions/$$t.$$s"; $(BIN)/$$t --completion $$s >completions/$$t.$$s || exit; \
		done; \
	done
	$(GO) build -C dev/tools -o ../../.cache/go-md2man github.com/cpuguy83/go-md2man/v2
	{ printf '%% conch 7 "January 1, 2026"\n# NAME\nconch - what it promises, on which assumptions, and where that ends\n\n'; \
		sed '1d; s/^## .*/\U&/; s/^## /# /' docs/promises.md; } | .cache/go-md2man >man/conch.7

check: fmt vet staticcheck shellcheck gen-check man-lint ## everything that reads the source and runs nothing

fmt:
	@files=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$files" ]; then echo "not gofmt'ed:" $$files; exit 1; fi

vet:
	$(GO) vet -tags grpcnotrace ./...

staticcheck:
	@mkdir -p .cache
	$(GO) build -C dev/tools -o ../../.cache/staticcheck honnef.co/go/tools/cmd/staticcheck
	.cache/staticcheck -tags grpcnotrace ./...

shellcheck:
	shellcheck $(SCRIPTS)

man-lint:
	mandoc -T lint -W warning man/*.[17]

gen-check: gen
	@if [ -n "$$(git status --porcelain man completions)" ]; then \
		git status --short man completions; git --no-pager diff --stat man completions; \
		echo "not in step with the tools: run make gen and commit"; exit 1; fi

install: build ## install below DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man7
	install -m 755 $(BIN)/conch $(DESTDIR)$(PREFIX)/bin/conch
	for t in $(TOOLS); do ln -sf conch $(DESTDIR)$(PREFIX)/bin/$$t; done
	install -m 644 man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 man/*.7 $(DESTDIR)$(PREFIX)/share/man/man7/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -d $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	install -d $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	for t in conch $(TOOLS); do \
		install -m 644 completions/$$t.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$t && \
		install -m 644 completions/$$t.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$t && \
		install -m 644 completions/$$t.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$t.fish || exit; \
	done

uninstall: ## remove what install has put there
	cd $(DESTDIR)$(PREFIX) && for t in conch $(TOOLS); do \
		rm -f bin/$$t share/man/man1/$$t.1 share/bash-completion/completions/$$t \
			share/zsh/site-functions/_$$t share/fish/vendor_completions.d/$$t.fish; \
	done

clean: ## remove what was built, but for .cache
	rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16
