#!/bin/sh
# Everything that needs a GPU, on a machine that has one: builds the examples with nvcc, runs each natively and over splitproc,
# checkpoints it at a random moment, stops it, restarts it, compares, and prints a table (the last time is the restart's with the rest of
# the run); heat2d-cuda on 1, 2 and 4 ranks where there is MPICH; the same under DMTCP where it is installed. Then what it costs: launches, a long
# computation, checkpoint and restart bandwidth (benches/cuda/run). `--cuda cpu` as the first arguments: on the CPU device, where there
# is no native run. SIZES: MiB of device memory, one after the other.
set -eu
cd "$(dirname "$0")/.."
device=gpu
[ "${1-}" != --cuda ] || device=$2
: "${NVCC:=$(command -v nvcc || echo "$(./setup cuda)/nvcc")}"
export NVCC
command -v "$NVCC" >/dev/null || { echo "gpu.sh: no nvcc: put it in the PATH or name it with NVCC=" >&2; exit 2; }
splitproc=$PWD/target/release/splitproc
[ -x "$splitproc" ] || { echo "gpu.sh: run cargo build --release --workspace first" >&2; exit 2; }
home=$(dirname "$(dirname "$(command -v "$NVCC")")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
arch=90
if [ "$device" = gpu ]; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
    export LD_LIBRARY_PATH="$home/lib:$home/lib64${LD_LIBRARY_PATH+:$LD_LIBRARY_PATH}"
fi
# benches/cuda/run builds for it too.
export ARCH="$arch"

now() { date +%s.%N; }
took() { echo "$1 $2" | awk '{ printf "%.2f", $2 - $1 }'; }
build() { # source program flag...
    source=$1 program=$2
    shift 2
    "$NVCC" ${CXX:+-ccbin "$CXX"} -cudart shared -L"$home/lib" -gencode "arch=compute_$arch,code=[sm_$arch,compute_$arch]" \
        "$@" -o "$program" "$source"
}
# A number from 1 to $1.
random() { echo $(($(od -An -N2 -tu2 /dev/urandom) % $1 + 1)); }
# Waits until process $1 has written $3 lines into the file $2; false if it ends before.
written() {
    while [ "$(wc -l <"$2")" -lt "$3" ]; do
        kill -0 "$1" 2>/dev/null || return 1
        sleep 0.02
    done
}
# Has what is given run on so many ranks; 0: without MPI.
ranks() {
    if [ "$1" = 0 ]; then
        shift
        "$@"
    else
        n=$1
        shift
        mpirun.mpich -n "$n" "$@"
    fi
}

failed=0
printf '%-16s %10s %10s %12s %14s  %s\n' program 'native s' 'ours s' 'checkpoint s' 'restarted, s' result
row() {
    [ "$6" = same ] || failed=1
    printf '%-16s %10s %10s %12s %14s  %s\n' "$@"
}
under_dmtcp() { # name program argument...
    name=$1
    shift
    rm -rf "$work/dmtcp"
    mkdir "$work/dmtcp"
    (
        cd "$work/dmtcp"
        fronts=$(dirname "$splitproc")/fronts
        export SPLITPROC_CUDA=$device LD_LIBRARY_PATH="$fronts${LD_LIBRARY_PATH+:$LD_LIBRARY_PATH}" DMTCP_QUIET=2
        dmtcp_coordinator --daemon -q -q --coord-port 0 --port-file port --exit-on-last
        DMTCP_COORD_PORT=$(cat port) DMTCP_COORD_HOST=localhost
        export DMTCP_COORD_PORT DMTCP_COORD_HOST
        : >"$work/part"
        dmtcp_launch -q -q --join-coordinator --no-gzip --with-plugin "$(dirname "$splitproc")/libsplitproc.so" "$@" >>"$work/part" &
        written $! "$work/part" "$(random "$most")" || exit 1
        begin=$(now)
        dmtcp_command -q --bcheckpoint >/dev/null
        took "$begin" "$(now)" >"$work/checkpoint"
        kill -9 $!
        wait
        dmtcp_coordinator --daemon -q -q --coord-port 0 --port-file port --exit-on-last
        DMTCP_COORD_PORT=$(cat port)
        begin=$(now)
        dmtcp_restart -q -q --join-coordinator ckpt_*.dmtcp >"$work/rest"
        took "$begin" "$(now)" >"$work/restart"
    ) 2>"$work/why" || { row "$name, DMTCP" - - - - "fails: $(tail -n 1 "$work/why")"; return; }
    # What it wrote between the checkpoint and its end comes again.
    result=same
    lines=$(wc -l <"$work/rest")
    tail -n "$lines" "$work/expected" | cmp -s - "$work/rest" && [ "$lines" -gt 0 ] || result='differs after the restart'
    row "$name, DMTCP" - - "$(cat "$work/checkpoint")" "$(cat "$work/restart")" "$result"
}

jobs='vectoradd 0 200 10;nbody 0 200 16384 10;managed 0 200 10;streams 0 200 10'
heat='heat2d-cuda 0 2048 2000 10 10;heat2d-cuda 2 2048 2000 10 10;heat2d-cuda 4 2048 2000 10 10'
if [ "$device" != gpu ]; then
    jobs='vectoradd 0 40 40;nbody 0 40 256 40;managed 0 40 40;streams 0 60 20'
    heat='heat2d-cuda 0 64 100 2 40;heat2d-cuda 2 64 100 2 40;heat2d-cuda 4 64 100 2 40'
fi
mpi=
if command -v mpicc.mpich >/dev/null; then
    jobs="$jobs;$heat"
    mpi=$(mpicc.mpich -show | tr ' ' '\n' | grep '^-[ILl]' | tr '\n' ' ')
fi
old=$IFS
IFS=';'
for job in $jobs; do
    IFS=$old
    # shellcheck disable=SC2086
    set -- $job
    name=$1 n=$2
    shift 2
    # shellcheck disable=SC2046
    [ -e "$work/$name" ] || build "examples/cuda/$name.cu" "$work/$name" $([ "$name" != heat2d-cuda ] || echo "$mpi")
    title=$name
    [ "$n" = 0 ] || title="$name, $n"
    begin=$(now)
    native=-
    if [ "$device" = gpu ]; then
        ranks "$n" "$work/$name" "$@" >"$work/expected"
        native=$(took "$begin" "$(now)")
    fi
    begin=$(now)
    ranks "$n" "$splitproc" launch --cuda "$device" --ckpt-dir "$work/first" -- "$work/$name" "$@" >"$work/ours"
    ours=$(took "$begin" "$(now)")
    [ "$device" = gpu ] || cp "$work/ours" "$work/expected"
    most=$(($(wc -l <"$work/expected") / 2))
    : >"$work/part"
    ranks "$n" "$splitproc" launch --cuda "$device" --ckpt-dir "$work/$title.ckpt" -- "$work/$name" "$@" >"$work/part" &
    pid=$!
    if ! written $pid "$work/part" "$(random "$most")"; then
        row "$title" "$native" "$ours" - - 'ends before its time'
        continue
    fi
    begin=$(now)
    if ! why=$("$splitproc" checkpoint --ckpt-dir "$work/$title.ckpt" --wait --stop 2>&1); then
        row "$title" "$native" "$ours" - - "no checkpoint: $(echo "$why" | tail -n 1)"
        wait $pid || true
        continue
    fi
    checkpoint=$(took "$begin" "$(now)")
    wait $pid || true
    begin=$(now)
    ranks "$n" "$splitproc" restart "$work/$title.ckpt" >>"$work/part" || echo 'the restart fails' >>"$work/part"
    restart=$(took "$begin" "$(now)")
    result=same
    cmp -s "$work/expected" "$work/ours" || result='differs over splitproc'
    cmp -s "$work/expected" "$work/part" || result='differs after the restart'
    row "$title" "$native" "$ours" "$checkpoint" "$restart" "$result"
    if [ "$n" = 0 ] && command -v dmtcp_launch >/dev/null; then
        under_dmtcp "$title" "$work/$name" "$@"
    fi
done

# Programs that go on after a restart reach device memory, variables and managed memory by the addresses that they had: the same.
[ $failed = 0 ] && echo 'addresses after the restarts: the same; managed memory (UVM): the same'

build benches/cuda/device.cu "$work/device"
over() { "$splitproc" launch --cuda "$device" --ckpt-dir "$work/cost" -- "$@"; }
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
[ "$device" = gpu ] || { n=200; steps='20 256 0'; }
printf '\n%-34s %16s %16s %8s\n' '' native ours ratio
compare() { awk -v name="$1" -v a="$2" -v b="$3" 'BEGIN { printf "%-34s %16s %16s %8s\n", name, a, b, a + 0 ? sprintf("%.3f", b / a) : "-" }'; }
native='- -' computed=-
if [ "$device" = gpu ]; then
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
[ "$device" = gpu ] || default=64
SIZES=${SIZES:-$default} benches/cuda/run --cuda "$device" || failed=1
exit $failed
