#!/bin/sh
# What the program says when the GPU, its memory or its driver fail: each case
# provoked, with the exit code and the words that have to come.
#
#	faults.sh FOLDER	binaries of make gpu-check; a GPU, or PLAYED=1 and no GPU:
#			then a library plays the driver (driver.c)
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$1" && pwd)
evalrun=$bin/evalrun-cuda
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
task="$bin/tasks/glue_sst2.yaml --data embedded --device cuda"
train="train $task --quiet --set recipe.accumulate=4 --set recipe.checkpoint_every=16"
bad=0

expect() { # name, exit code (or A/B), words (regular expressions) with ~ between, command...
	name=$1 want=$2 words=$3
	shift 3
	timeout 90 "$@" >out.txt 2>&1
	code=$?
	ok=ok
	case "/$want/" in */$code/*) ;; *) ok="FAIL (exit code $code, not $want)" ;; esac
	rest=$words
	while [ -n "$rest" ]; do
		word=${rest%%~*}
		grep -q -- "$word" out.txt || ok="FAIL (no word of '$word')"
		case $rest in *"~"*) rest=${rest#*~} ;; *) rest= ;; esac
	done
	grep -q -e '^panic' -e 'goroutine ' -e 'BUG:' out.txt && ok="FAIL (a wreck)"
	[ "$ok" = ok ] || bad=1
	echo "--- $name: $ok"
	[ "$ok" = ok ] && keep=2 || keep=20
	grep -v -e '^step' -e '^$' out.txt | tail -$keep | cut -c1-500
}

played="env LD_LIBRARY_PATH=$here/played"
if [ -n "$PLAYED" ]; then
	driver=$here/played/libcuda.so.1
	export LD_LIBRARY_PATH="$here/played"
else
	driver=$(ldconfig -p 2>/dev/null | awk '$1 == "libcuda.so.1" && /x86-64/ {print $NF; exit}')
	for f in $driver /usr/lib/x86_64-linux-gnu/libcuda.so.1 /usr/local/nvidia/lib64/libcuda.so.1 /usr/lib64/libcuda.so.1; do
		[ -e "$f" ] && driver=$f && break
	done
fi
faulty="env LD_LIBRARY_PATH=$here/fault:$LD_LIBRARY_PATH EVALRUN_FAULT_DRIVER=$driver"

# A driver that is too old, does not start, or sees nothing: one sentence.
for c in "EVALRUN_PLAY_VERSION=11040|knows CUDA 11.4" "EVALRUN_PLAY_INIT=100|no NVIDIA GPU is visible" "EVALRUN_PLAY_INIT=999|the driver does not work" \
	"EVALRUN_PLAY_INIT=35|install a newer" "EVALRUN_PLAY_DEVICES=0|no NVIDIA GPU is visible" "EVALRUN_PLAY_MAJOR=7|capability 7"; do
	set -- "${c%%|*}" "${c#*|}"
	expect "evaluation, $1" 1 "$2~--device cpu" $played "$1" "$evalrun" $task --backend local --limit 4 --quiet
	expect "training, $1" 1 "$2~--device cpu" $played "$1" "$evalrun" $train --steps 8 --out never
	[ -e never ] && bad=1 && echo "FAIL: a training that did not begin left a folder"
	expect "doctor, $1" 0 "GPU" $played "$1" "$evalrun" doctor --quick
done
expect "the CPU in its place" 0 "computing on the CPU: the NVIDIA driver knows CUDA 11.4" $played EVALRUN_PLAY_VERSION=11040 "$evalrun" $bin/tasks/glue_sst2.yaml --data embedded --backend local --limit 4

# Memory: a model or a training that fits by the plan and finds it taken, and one
# whose plan does not fit, beside another program that has nearly all of it.
expect "evaluation, memory taken" 1 "GPU's memory is too small~planned:~kv_mb" $faulty EVALRUN_FAULT_MIB=40 "$evalrun" $task --backend local --limit 4 --quiet
expect "training, memory taken" 1 "GPU's memory is too small~the plan is of~lower accumulate" $faulty EVALRUN_FAULT_MIB=12 "$evalrun" $train --steps 80 --out gone
hold() { # MiB left beside a context; then commands run beside a program that has the rest
	if [ -n "$PLAYED" ]; then
		beside="env EVALRUN_PLAY_MIB=$1"
		return
	fi
	: >hold
	EVALRUN_HOLD_LEAVE=$1 EVALRUN_HOLD_WHILE="$work/hold" "$bin/kernels.test" -test.v -test.run HoldMemory >hold.txt 2>&1 &
	i=0
	while ! grep holding hold.txt && [ $i -lt 300 ]; do sleep 0.1 && i=$((i + 1)); done
}
free() { rm -f hold && wait; }
beside=env
hold 12
small='too small\|are free on the GPU\|out of memory'
expect "evaluation, no memory left" 1 "$small" $beside "$evalrun" $task --backend local --limit 4 --quiet
expect "training, no memory left" 1 "$small" $beside "$evalrun" $train --steps 80 --out large
[ -e large ] && bad=1 && echo "FAIL: a training that did not begin left a folder"
free
hold 400
expect "training beside another program" 0 "" $beside "$evalrun" $train --steps 80 --out fits
free

# A kernel with a bad address: the context is lost; the checkpoint is named, and
# from there the training ends in the bits of one that nothing happened to.
expect "training, a kernel fails" 2 "the GPU failed~illegal memory access~the last checkpoint is that of step~hit/training" \
	$faulty EVALRUN_FAULT_LAUNCH=5000 "$evalrun" $train --steps 400 --out hit
expect "it goes on, memory taken" 1 "GPU's memory is too small~the last checkpoint, in hit/training, stays" $faulty EVALRUN_FAULT_MIB=12 "$evalrun" $train --steps 400 --out hit
hash='s/.*"hash":"\([0-9a-f]*\)".*/\1/;t;d'
expect "it goes on" 0 '"resumed":[1-9]' "$evalrun" $train --steps 400 --out hit --json
sed "$hash" out.txt >one
expect "one that nothing happened to" 0 '"resumed":0' "$evalrun" $train --steps 400 --out whole --json
sed "$hash" out.txt >two
if [ -s one ] && cmp -s one two; then echo "--- the same bits: ok, $(cut -c1-16 one)"; else bad=1 && echo "--- the same bits: FAIL"; fi
expect "evaluation, a kernel fails" 0/2 "illegal memory access" $faulty EVALRUN_FAULT_LAUNCH=100 "$evalrun" $task --backend local --limit 16
exit $bad
