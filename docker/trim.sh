#!/usr/bin/env bash
# Removes from the Python environment what no finished image can use. It runs in the step that installs, because deleting
# in a later layer frees nothing.
#
# usage: trim.sh [TOOLS]      TOOLS: root of a system with binutils; with it, symbols are stripped too
set -euo pipefail
cd "$VIRTUAL_ENV"/lib/python3.*/site-packages

# The libraries' tests of themselves. torch keeps its own, parts of it import them; numpy.testing imports one file of numpy's.
find . \( -path ./torch -o -path ./numpy/_core/tests \) -prune -o \
    -type d \( -name tests -o -path ./test -o -path './future/*/test' \) -prune -exec rm -rf {} +

if [[ -d numpy/_core/tests ]]; then
    find numpy/_core/tests -type f ! -name '_natype*' ! -name '__init__*' -delete
    find numpy/_core/tests -type d -empty -delete
fi

# Read by linkers only, and the images hold none.
find . -name '*.a' -delete

# What Cython generated; the compiled modules stand beside it.
find . -path './cuda/*' -name '*.cpp' -delete

# NVRTC's second build, and cuSOLVER for several GPUs: no library here names them, so nothing can load them.
rm -f nvidia/cuda_nvrtc/lib/libnvrtc*.alt.so* nvidia/cusolver/lib/libcusolverMg.so*

# Device-side NVSHMEM, for kernels that people compile against it. (The host side is linked into torch and stays.)
rm -f nvidia/nvshmem/lib/libnvshmem_device.bc

# CUDA headers. Triton carries the ones it compiles against itself; torch's own stay for torch.compile.
rm -rf nvidia/*/include

# Of OpenVINO: what runs networks on other devices than CPUs, what reads other formats than its own and torch's, headers.
rm -rf openvino/include openvino/libs/cache.json openvino/libs/libopenvino_intel_[gn]pu_plugin.so
rm -f openvino/libs/libopenvino_{gguf,jax,onnx,paddle,tensorflow,tensorflow_lite}_frontend.so*

# Of Pillow: fonts and Tk, with their libraries: no image draws text or shows windows.
rm -f PIL/_imaging{ft,tk}.*.so pillow.libs/lib{brotli,freetype,harfbuzz,png16}*

# Build and test tools of torch and Triton.
rm -rf torch/bin/protoc* triton/FileCheck triton/instrumentation

# Triton brings a second CUPTI, part of it three times over, as wheels cannot hold links.
for copy in triton/backends/nvidia/lib/cupti/*.so*; do
    original=nvidia/cuda_cupti/lib/$(basename "$copy" | sed 's/\(libcupti\.so\).*/\1.12/')
    if cmp --silent "$copy" "$original"; then
        ln --force "$original" "$copy"
    fi
done

# Symbol tables and debug sections of the two largest libraries that have them: loading uses .dynsym, which stays. NVIDIA's
# libraries remain as they come.
if [[ -n ${1:-} ]]; then
    find torch/lib triton/_C -name '*.so' -exec \
        env LD_LIBRARY_PATH="$1/usr/lib/x86_64-linux-gnu" "$1/usr/bin/strip" --strip-unneeded {} +
fi
