#!/bin/sh
# The command line on a GPU: one training on the CPU and on the GPU, in float32 and
# in bfloat16, of the demonstration model on the rows that the program carries.
#
#	command.sh FOLDER	binaries of make gpu-check
#
# On the GPU it runs twice and has to give one hash. Against the CPU every loss of
# 60 updates and the adapter are compared. Between two instruction sets of a CPU
# (AVX-512 and plain Go) they were: in float32 2.8e-6, in the mean 1e-6, the
# adapter's modules 4.7e-7; in bfloat16 0.019, 0.006 and 0.0074 apart. Losses go
# from 18 to 4. The bars in bfloat16 are five times that, since on the GPU the attention
# is of bfloat16 products too; in float32 a loss has the bar of the emulated GPU, and the
# adapter a tenth of it (backends/local/train/emulated_test.go).
bin=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
cp -r "$bin/tasks" .
bad=0

# The plain program is started, which goes on as evalrun-cuda. A prefix of the
# environment may be given by EVALRUN, as for the tests of this script.
train() { # folder, device, compute
	${EVALRUN:-$bin/evalrun} train tasks/glue_sst2.yaml --data embedded --device "$2" --steps 240 --set recipe.accumulate=4 --set recipe.compute="$3" --out "$1" --json >"$1.json" 2>"$1.err" || {
		bad=1
		echo "--- $1: FAIL, exit code $?"
		tail -3 "$1.err"
	}
	sed 's/.*"hash":"\([0-9a-f]*\)".*"seconds":\([0-9.]*\).*/\1 \2/;t;d' "$1.json" >"$1.hash"
	echo "--- $1: $(cut -c1-16 "$1.hash") $(cut -d' ' -f2 "$1.hash") s"
}
same() { # two folders
	if [ -s "$1.hash" ] && [ "$(cut -d' ' -f1 "$1.hash")" = "$(cut -d' ' -f1 "$2.hash")" ]; then echo "--- $1 and $2 have one hash: ok"; else bad=1 && echo "--- $1 and $2: FAIL, other hashes"; fi
}
near() { # two folders, bars of a loss, of the mean, of the adapter's modules
	sed 's/.*"step":\([0-9]*\).*"loss":\([0-9.e+-]*\).*/\1 \2/;t;d' "$1/training/metrics.jsonl" >a
	sed 's/.*"step":\([0-9]*\).*"loss":\([0-9.e+-]*\).*/\1 \2/;t;d' "$2/training/metrics.jsonl" >b
	"$bin/evalrun-cuda" adapter diff "$1" "$2" | sed 's/model.layers[^ ]* *//;t;d' >c
	cat c >>"$2.err"
	paste -d' ' a b | awk -v what="$1 and $2" -v most="$3" -v mean="$4" -v apart="$5" '
		NF != 4 || $1 != $3 { odd = 1 }
		{ d = $2 - $4; if (d < 0) d = -d; if (!(d <= top)) top = d; sum += d; n++ }
		END {
			while ((getline line <"c") > 0) { k = split(line, x, " "); if (!(x[k] + 0 <= far)) far = x[k] + 0; modules++ }
			ok = !odd && n == 60 && modules == 12 && top <= most && sum / n <= mean && far <= apart
			printf "--- %s: %s; of %d losses %.2g apart at most (bar %g), %.2g in the mean (%g), %d modules of the adapter %.2g (%g)\n", what, ok ? "ok" : "FAIL", n, top, most, sum / n, mean, modules, far, apart
			exit !ok
		}' || bad=1
}

train cuda cuda f32
train cuda-again cuda f32
same cuda cuda-again
train bf16 cuda-bf16 bf16
train bf16-again cuda-bf16 bf16
same bf16 bf16-again
train cpu cpu f32
near cpu cuda 1e-4 2e-5 1e-4
train cpu-bf16 cpu bf16
near cpu-bf16 bf16 0.1 0.03 0.05
exit $bad
