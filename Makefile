# Everything here is plain go commands; make only names them.
.PHONY: build test check bench goldens

build:
	go build -o evalrun .

test:
	go test ./...

# What CI runs: formatting, vet, generated code, tests, the examples' own modules.
check:
	CI=true bash .ci/run

bench:
	go test -run '^$$' -bench . -benchtime 1s ./core/text ./core/record ./metrics/humaneval ./plugins ./backends/... ./kernels/... ./internal/cli

# The windows of evalrun debug against a folder of golden files; it is made
# elsewhere, and where it is not there this says so and stops.
GOLDENS ?= ../shared/golden
goldens: build
	go run ./internal/goldens -evalrun ./evalrun $(GOLDENS)
