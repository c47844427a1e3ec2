#!/bin/sh
# What to run on a GPU that is there for minutes: the binaries of make gpu-check,
# which lie beside this script and need neither Go nor a toolkit there.
#
#	gpu/check.sh [FOLDER]	writes a log a part to FOLDER (default: gpu/log), and their ends here
#
# Five minutes and 10 GB of memory and disk on an H100: first what is true, side by side, then
# what is fast, one after another, so that an end in between leaves the more important half. PARTS
# names some of them, with blanks between: PARTS='contract command' gpu/check.sh
here=$(cd "$(dirname "$0")" && pwd)
log=${1:-$here/log}
mkdir -p "$log"
export EVALRUN_GPU_MODEL=${EVALRUN_GPU_MODEL:-$log/model}
rm -f "$log/failed"

part() { # name, seconds, command...
	name=$1 limit=$2
	shift 2
	case " ${PARTS:-$name} " in *" $name "*) ;; *) return ;; esac
	begin=$(date +%s)
	timeout "$limit" "$@" >"$log/$name.txt" 2>&1
	code=$?
	[ $code -eq 0 ] || echo "$name" >>"$log/failed"
	said="== $name: exit code $code, $(($(date +%s) - begin)) s
$(grep -E '^(---|ok|FAIL|panic|Benchmark)|_test.go:|checks|  FAILED' "$log/$name.txt" | tail -40)"
	echo "$said" # at once: parts may run side by side
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
part contract 100 "$here/kernels.test" -test.v -test.run 'Contract|Attention|Thirds|Blocks|Narrow|Pair|Flash|Dequantise|Brain|Rounded|Stage|Windows|Tiles' &
part samebits 100 "$here/kernels.test" -test.v -test.run SameBits &
for d in cuda cuda-bf16; do # where the folder of golden files has been laid beside
	[ -d "$here/golden" ] && part "goldens-$d" 90 "$here/goldens" -evalrun "$here/evalrun-cuda" -device $d "$here/golden" models adapters gradients train &
done
part agrees 60 "$here/train.test" -test.v -test.run GPUAgrees &
part command 90 sh "$here/command.sh" "$here" &
wait
part faults 120 sh "$here/faults.sh" "$here"
part decode 60 "$here/kernels.test" -test.run - -test.bench 'Launch|Decode|GEMV' -test.benchtime 1x
part engine 120 "$here/engine.test" -test.v -test.run GPU
part train 120 "$here/train.test" -test.v -test.run GPUTraining
part window 80 "$here/kernels.test" -test.v -test.run - -test.bench Window -test.benchtime 1x
part rates 60 "$here/kernels.test" -test.run - -test.bench 'Copy|Dequantise|GEMM|Operations|Flash|Attention' -test.benchtime 1x
rm -rf "$log/model"
if [ -s "$log/failed" ]; then
	echo "failed: $(tr '\n' ' ' <"$log/failed")"
	exit 1
fi
