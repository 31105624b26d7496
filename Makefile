# assay: see README.md. `make demo` and `make test` install what they need
# through scripts/peers.sh (Debian packages, when root and apt are there).

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0-dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
export CGO_ENABLED = 0

.PHONY: build demo test bench bench-firmware bench-serial bench-network fuzz cross peers clean

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/assay ./cmd/assay

peers:
	sh scripts/peers.sh

demo: build
	sh scripts/peers.sh demo
	sh scripts/demo.sh

test: peers
	$(GO) test -timeout 25m ./...

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Side by side with binwalk 3 and unblob over the same flashes.
bench-firmware: build peers
	PATH="$$(sh scripts/bench-peers.sh):$$PATH" ASSAY=$(CURDIR)/bin/assay \
	  $(GO) test -run '^$$' -bench Peers -benchtime 1x -timeout 60m ./firmware/all
	$(GO) test -run '^$$' -bench 'SquashFSTree|Unsquashfs' ./firmware/filesystem
	$(GO) test -run '^$$' -bench 'Sweep|Gap' -cpu 1 ./firmware

# The line's limit, and depthcharge over the same line.
bench-serial: peers
	PATH="$$(sh scripts/bench-serial.sh):$$PATH" \
	  $(GO) test -run '^$$' -bench 'UBoot|Sixteen|Depthcharge' -benchtime 1x -timeout 60m ./devices/console
	$(GO) test -run '^$$' -bench 'Shell|Receive' -benchtime 1x -timeout 60m ./devices/console/shell ./devices/console/tftp

# A thousand simulated units on the loopback: assay discover --identify, and nmap
# with its scripts (which takes far longer, so a hundred). ASSAY_TOWN=10000 has more.
bench-network: peers
	$(GO) test -run '^$$' -bench 'Network$$' -benchtime 1x -timeout 60m ./cmd/assay
	ASSAY_TOWN=$${ASSAY_TOWN_NMAP:-100} $(GO) test -run '^$$' -bench 'NetworkNmap$$' -benchtime 1x -timeout 60m ./cmd/assay

fuzz:
	sh scripts/fuzz.sh

cross:
	sh scripts/cross.sh

clean:
	rm -rf bin build
