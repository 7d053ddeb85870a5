#!/bin/sh
# Everything that needs a GPU, in one folder that needs nothing else: built here, run on a machine that has the GPU and a driver, but perhaps
# no compiler at all.
#
#     tests/gpu.sh --build DIR       release build, nvcc and MPICH are here; DIR (some 20 MiB) can be copied anywhere
#     DIR/run [--cuda cpu]           there: sh, coreutils, grep and awk; x86-64, glibc 2.36 or newer if this is Debian 12
#     tests/gpu.sh [--cuda cpu]      both, one after the other, where there are both
#
# ARCH: the GPU's architecture without the point; programs have PTX too, so that newer ones run them. MPICH goes along for machines that have none.
set -eu
cd "$(dirname "$0")/.."
if [ "${1-}" = --build ]; then
    folder=${2:?the folder to build}
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
nvcc=${NVCC:-$(command -v nvcc || echo "$(./setup cuda)/nvcc")}
[ -x "$nvcc" ] || { echo "gpu.sh: no nvcc: put it in the PATH or name it with NVCC=" >&2; exit 2; }
release=target/release
[ -x $release/splitproc ] || { echo "gpu.sh: run cargo build --release --workspace first" >&2; exit 2; }
home=$(dirname "$(dirname "$nvcc")")
arch=${ARCH:-90}
host=${CXX:-$(command -v g++-12 || command -v g++)}
mkdir -p "$folder/bin" "$folder/programs" "$folder/lib"

# Splitproc's own parts.
cp -RP $release/fronts $release/lib*.so $release/splitproc $release/splitproc-host $release/splitproc-mpi-lh $release/lh-loader "$folder/bin"
cp benches/cuda/run "$folder/bandwidth"
cp tests/gpu/run "$folder/run"

# CUDA programs: the examples, and what is measured.
cuda() { # source flag...
    name=$(basename "$1" .cu)
    "$nvcc" -ccbin "$host" -cudart shared -L"$home/lib" -gencode "arch=compute_$arch,code=[sm_$arch,compute_$arch]" \
        -o "$folder/programs/$name" "$@"
}
for name in vectoradd nbody managed streams; do cuda examples/cuda/$name.cu; done
cuda benches/cuda/device.cu
mpi=$(mpicc.mpich -show | tr ' ' '\n' | grep '^-[ILl]')
# shellcheck disable=SC2086
cuda examples/cuda/heat2d-cuda.cu $mpi
for name in cuda_async cuda_matrices; do cuda tests/c/$name.cu; done
# Programs of the driver's API, with PTX of their own.
for name in cuda cuda_graph cuda_graph_memory cuda_edges cuda_texture cuda_unload cuda_vmm; do
    gcc -O2 -Wno-stringop-overflow -o "$folder/programs/$name" tests/c/$name.c -L$release/fronts -l:libcuda.so.1 \
        -Wl,--unresolved-symbols=ignore-in-shared-libs -lpthread -lm
done

# An mpirun, and the libraries that all need, but for the C library's and the driver; what debuggers want is left out.
mpich=$(readlink -f "$(command -v mpirun.mpich)")
cp "$mpich" "$folder/bin/mpirun.mpich"
cp "$(dirname "$mpich")/hydra_pmi_proxy" "$folder/bin"
for program in "$folder"/programs/* "$folder"/bin/mpirun.mpich "$folder"/bin/splitproc; do
    LD_LIBRARY_PATH=$home/lib ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }'
done | sort -u | grep -v '/lib\(c\|m\|dl\|rt\|pthread\|resolv\|cuda\)\.so' | while read -r library; do
    cp -L "$library" "$folder/lib"
done
find "$folder/bin" "$folder/lib" -type f -exec strip --strip-debug {} +

[ "${1-}" = --build ] || { "$folder/run" "$@"; exit; }
echo "$folder: $(du -sm "$folder" | cut -f 1) MiB; copy it to the GPU's machine, and there: ${folder##*/}/run"
