# Everything here is plain go commands; make only names them.
.PHONY: build test check bench goldens peers

build:
	go build -o evalrun .

test:
	go test ./...

# What CI runs: formatting, vet, generated code, tests, the examples' own modules.
check:
	CI=true bash .ci/run

bench:
	go test -run '^$$' -bench . -benchtime 1s ./core/text ./core/stats ./core/cl100k ./core/complexity/... ./core/record ./metrics/humaneval ./plugins ./backends/... ./kernels/... ./internal/cli

# The windows of evalrun debug against a folder of golden files; it is made
# elsewhere, and where it is not there this says so and stops.
GOLDENS ?= ../shared/golden
goldens: build
	go run ./internal/goldens -evalrun ./evalrun $(GOLDENS)

# The trainer and its adapters beside PEFT, llama.cpp and TensorBoard: Python
# packages, which docs/train.md names. What is missing is said, and not checked.
# An hour where the machine is idle.
PYTHON ?= python3
peers: build
	go run ./internal/peers -python $(PYTHON) -quant nf4 all

# The build for NVIDIA GPUs, beside the plain one, which starts it. It needs a C
# compiler, CUDA's headers and libcuda.so: Debian's nvidia-cuda-dev and libcuda1
# (non-free), or any toolkit from 11.8 on. Elsewhere installed ones are named so:
#   make cuda CGO_CFLAGS=-I/opt/cuda/include CGO_LDFLAGS=-L/opt/cuda/lib64/stubs
.PHONY: cuda ptx emulate
cuda: build
	go build -tags cuda -o evalrun-cuda .

# CUDA kernels to PTX, a development step; needs clang-16 and nothing of CUDA.
ptx:
	./kernels/cuda/compile.sh

# The CUDA kernels thread by thread on the processor, against kerneltest; needs a
# C++ compiler. Half an hour. (go build does not see that files in src changed; a
# flag made of them does.) First every access is checked: races, memory that is
# nobody's or that nobody wrote, warps that part; -o keeps the lines of the source
# for what is found. Backwards, what a GPU may do in any order comes in another.
# Half an hour and a core in all.
EMULATE = CGO_CXXFLAGS="-O2 -fsanitize=alignment -fsanitize-undefined-trap-on-error -DSOURCES=$$(cat kernels/cuda/src/* kernels/cuda/driver/*.h kernels/cuda/emulate/* | sha256sum | cut -c1-12)" \
	go test -run Emulated -timeout 90m
emulate:
	set -e; bin=$$(mktemp -d); trap "rm -r $$bin" EXIT; \
	$(EMULATE) -tags emulate,check -o $$bin/ ./kernels/cuda/emulate ./kernels/cuda ./backends/local/train ./backends/local/engine
	EMULATE_BACKWARDS=1 $(EMULATE) -tags emulate ./kernels/cuda

# What a GPU that is lent for minutes is checked with, built where there is none:
# copy the folder gpu there and run gpu/check.sh. Wants what make cuda wants.
.PHONY: gpu-check gpu-faults
gpu-check: gpu-faults
	go test -c -tags cuda -ldflags='-s -w' -o gpu/kernels.test ./kernels/cuda
	go test -c -tags cuda -ldflags='-s -w' -o gpu/engine.test ./backends/local/engine
	go test -c -tags cuda -ldflags='-s -w' -o gpu/train.test ./backends/local/train
	CGO_ENABLED=0 go build -ldflags='-s -w' -o gpu/goldens ./internal/goldens
	cp kernels/cuda/check.sh kernels/cuda/command.sh internal/peers/qlora.py gpu/

# What the program says when a GPU, its memory or its driver fail, tried where
# there is no GPU: a library plays the driver. PLAYED=1 gpu/faults.sh gpu
gpu-faults:
	mkdir -p gpu/tasks gpu/played gpu/fault
	$${CC:-cc} -shared -fPIC -o gpu/played/libcuda.so.1 kernels/cuda/faults/driver.c
	$${CC:-cc} -shared -fPIC -o gpu/fault/libcuda.so.1 kernels/cuda/faults/fault.c -ldl
	CGO_ENABLED=0 go build -ldflags='-s -w' -o gpu/evalrun .
	go build -tags cuda -ldflags='-s -w' -o gpu/evalrun-cuda .
	cp tasks/glue_sst2.yaml gpu/tasks/
	cp kernels/cuda/faults.sh gpu/
