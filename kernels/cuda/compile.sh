#!/bin/sh
# Translates src/*.cu to ptx/*.ptx; a development step (make ptx), the results
# are committed. Plain clang 16 is enough (Debian: clang-16): no CUDA toolkit.
#
#	compile.sh [FOLDER [NAME...]]
#
# The products are translated once a kind of weight, or of rounding, so that the driver need not
# finish what a model has no use for.
set -e
cd "$(dirname "$0")"
out=${1:-ptx}
[ $# -gt 0 ] && shift

translate() { # source, result, flags
	source=$1 result=$2
	shift 2
	clang-16 -x cuda --cuda-device-only -nocudainc -nocudalib -O3 -ffp-contract=off -Xclang -target-feature -Xclang +ptx78 \
		-std=c++17 -Wall -Wno-unknown-cuda-version "$@" -S "$source" -o "$result"
	# Remarks name the compiler's build; the driver does not want them.
	sed -i -e 's/[[:space:]]*\/\/.*$//' -e '/^[[:space:]]*$/d' "$result"
}

for name in ${@:-$(cd src && ls *.cu | sed 's/\.cu$//')}; do
	case $name in
	matmul) for kind in 0 1 2 3 4; do translate src/$name.cu "$out/${name}_$kind.ptx" --cuda-gpu-arch=sm_80 -DONLY_KIND=$kind; done ;;
	thirds | onerow)
		translate src/$name.cu "$out/${name}_brain.ptx" --cuda-gpu-arch=sm_80 -DHALF_VALUES=0
		translate src/$name.cu "$out/${name}_half.ptx" --cuda-gpu-arch=sm_80 -DHALF_VALUES=1 ;;
	blocks | blockrows)
		for format in Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K; do
			translate src/$name.cu "$out/${name}_$format.ptx" --cuda-gpu-arch=sm_80 -DONLY_FORMAT=$format
		done ;;
	*_sm90)
		# Instructions that clang has no words for stand in the source as text; they
		# need a later version of PTX than it writes.
		translate src/$name.cu "$out/$name.ptx" --cuda-gpu-arch=sm_90
		version=8.0
		[ $name = tiles_sm90 ] && version=8.3
		sed -i -e "s/^\.version .*/.version $version/" -e 's/^\.target .*/.target sm_90a/' "$out/$name.ptx" ;;
	*) translate src/$name.cu "$out/$name.ptx" --cuda-gpu-arch=sm_80 ;;
	esac
done
