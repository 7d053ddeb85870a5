#!/bin/sh
# Everything that needs a GPU, on a machine that has one: builds the examples with nvcc, runs each natively and over splitproc,
# checkpoints it in the middle, kills it, restarts it, compares, and prints a table (the last time is the restart's with the rest of
# the run). Then what it costs: launches, a long computation, checkpoint and restart bandwidth (benches/cuda/run). `--cuda cpu` as
# the first arguments: on the CPU device, where there is no native run. SIZES: MiB of device memory, one after the other.
set -eu
cd "$(dirname "$0")/.."
device=gpu
[ "${1-}" != --cuda ] || device=$2
command -v "${NVCC:=nvcc}" >/dev/null || { echo "gpu.sh: no nvcc: put it in the PATH or name it with NVCC=" >&2; exit 2; }
splitproc=$PWD/target/release/splitproc
[ -x "$splitproc" ] || { echo "gpu.sh: run cargo build --release --workspace first" >&2; exit 2; }
home=$(dirname "$(dirname "$(command -v "$NVCC")")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $device = gpu ]; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    export LD_LIBRARY_PATH="$home/lib:$home/lib64${LD_LIBRARY_PATH+:$LD_LIBRARY_PATH}"
fi

now() { date +%s.%N; }
took() { echo "$1 $2" | awk '{ printf "%.2f", $2 - $1 }'; }

failed=0
printf '%-10s %10s %10s %12s %14s  %s\n' program 'native s' 'ours s' 'checkpoint s' 'restarted, s' result
jobs='vectoradd 200 5;nbody 200 16384 5;managed 200 5;streams 400 5'
[ $device = gpu ] || jobs='vectoradd 40 5;nbody 40 256 5;managed 40 5;streams 60 20'
old=$IFS
IFS=';'
for job in $jobs; do
    IFS=$old
    # shellcheck disable=SC2086
    set -- $job
    name=$1
    shift
    "$NVCC" ${CXX:+-ccbin "$CXX"} -cudart shared -L"$home/lib" -gencode 'arch=compute_90,code=[sm_90,compute_90]' \
        -o "$work/$name" "examples/cuda/$name.cu"
    begin=$(now)
    native=-
    if [ $device = gpu ]; then
        "$work/$name" "$@" >"$work/expected"
        native=$(took "$begin" "$(now)")
    fi
    begin=$(now)
    "$splitproc" launch --cuda $device --ckpt-dir "$work/first" -- "$work/$name" "$@" >"$work/ours"
    ours=$(took "$begin" "$(now)")
    [ $device = gpu ] || cp "$work/ours" "$work/expected"
    : >"$work/part"
    "$splitproc" launch --cuda $device --ckpt-dir "$work/$name.ckpt" -- "$work/$name" "$@" >"$work/part" &
    pid=$!
    while [ "$(wc -l <"$work/part")" -lt 10 ]; do sleep 0.05; done
    begin=$(now)
    "$splitproc" checkpoint --ckpt-dir "$work/$name.ckpt" --wait --stop >/dev/null
    checkpoint=$(took "$begin" "$(now)")
    wait $pid || true
    begin=$(now)
    "$splitproc" restart "$work/$name.ckpt" >>"$work/part"
    restart=$(took "$begin" "$(now)")
    result=same
    cmp -s "$work/expected" "$work/ours" || result='differs over splitproc'
    cmp -s "$work/expected" "$work/part" || result='differs after the restart'
    [ "$result" = same ] || failed=1
    printf '%-10s %10s %10s %12s %14s  %s\n' "$name" "$native" "$ours" "$checkpoint" "$restart" "$result"
done

# Programs that go on after a restart reach device memory, variables and managed memory by the addresses that they had: the same.
[ $failed = 0 ] && echo 'addresses after the restarts: the same; managed memory (UVM): the same'

"$NVCC" ${CXX:+-ccbin "$CXX"} -cudart shared -L"$home/lib" -gencode 'arch=compute_90,code=[sm_90,compute_90]' \
    -o "$work/device" benches/cuda/device.cu
over() { "$splitproc" launch --cuda $device --ckpt-dir "$work/cost" -- "$@"; }
# The best of three rounds.
best() { for _ in 1 2 3; do "$@"; done | sort -n | head -1; }
seconds() {
    begin=$(now)
    "$@" >/dev/null
    took "$begin" "$(now)"
    echo
}
n=100000
steps='5000 16384 0'
[ $device = gpu ] || { n=200; steps='20 256 0'; }
printf '\n%-34s %16s %16s %8s\n' '' native ours ratio
compare() { awk -v name="$1" -v a="$2" -v b="$3" 'BEGIN { printf "%-34s %16s %16s %8s\n", name, a, b, a + 0 ? sprintf("%.3f", b / a) : "-" }'; }
native='- -' computed=-
if [ $device = gpu ]; then
    native=$(best "$work/device" launches $n)
    # shellcheck disable=SC2086
    computed=$(best seconds "$work/nbody" $steps)
fi
ours=$(best over "$work/device" launches $n)
compare 'us a launch, many in a row' "${native% *}" "${ours% *}"
compare 'us a launch and a wait' "${native#* }" "${ours#* }"
# shellcheck disable=SC2086
compare 'nbody, s, with start and end' "$computed" "$(best seconds over "$work/nbody" $steps)"

echo
default='8192 32768'
[ $device = gpu ] || default=64
SIZES=${SIZES:-$default} benches/cuda/run --cuda $device || failed=1
exit $failed
