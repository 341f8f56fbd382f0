#!/usr/bin/env bash
# All that wants a GPU, most valuable first, in slices: each call works for at most MINUTES (9 by
# default), goes on where the last one stopped, and exits 75 while there is more to do.
#
#   benchmarks/gpu.sh CIFAR_IMAGES OUT [MINUTES]
#
# CIFAR_IMAGES: a folder or .zip of CIFAR-10 images, train/CLASS/... and test/CLASS/...
# OUT: where results (JSON), ledgers and logs are copied after every step; commit the JSON under
# benchmarks/results/. Runs stay in runs/benchmarks until the next call.
# DATA_ROOT names the folder of the other data sets, MNIST first of all (the one that has MNIST/raw,
# or mnist/MNIST/raw), by default the one in which CIFAR_IMAGES lies; rows without data are left out.
# Python packages: those of pyproject.toml; PYTHON names the interpreter. Where some are missing
# and nothing can be fetched, put their wheels into wheels/ beside this repository's README.
set -u
cd "$(dirname "$0")/.."
images=${1:?a folder or .zip of CIFAR-10 images}
out=${2:?a folder for the results}
end=$(($(date +%s) + 60 * ${3:-9}))
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
data=${DATA_ROOT:-$(dirname "$images")}
mkdir -p "$out" runs/benchmarks/cifar runs/benchmarks/paper
if ls wheels/*.whl >/dev/null 2>&1; then
    site=${TMPDIR:-/tmp}/hwn2n-site
    [ -d "$site" ] || "$python" -m pip install -q --no-index --no-deps --no-compile \
        --target "$site" wheels/*.whl || exit 1
    export PYTHONPATH="$PYTHONPATH:$site"
fi
"$python" -c 'import torch; assert torch.cuda.is_available(), "no GPU"; print(torch.__version__, torch.cuda.get_device_name())' || exit 3

collect() {
    cp -f benchmarks/results/*.json "profiles/$gpu.yaml" "$out"/ 2>/dev/null
    tar -czf "$out/ledgers.tar.gz" $(find runs/benchmarks/cifar runs/benchmarks/paper \
        -name ledger.sqlite -o -name config.json -o -name result.json) 2>/dev/null
}

# step NAME COMMAND...: run it unless it is done; stop the whole script when time is up
step() {
    local name=$1 left code
    shift
    local done="runs/benchmarks/cifar/$name.done"
    [ -e "$done" ] && return 0
    left=$((end - $(date +%s)))
    [ "$left" -lt 30 ] && { collect; exit 75; }
    echo "== $name ($left s left)"
    timeout --signal=INT --kill-after=20 "$left" "$@" 2>&1 | tee -a "$out/log.txt"
    code=${PIPESTATUS[0]}
    collect
    case $code in
        0) touch "$done" ;;
        75 | 124 | 130 | 137) exit 75 ;; # 75: a row was stopped in time by its own clock
        *) echo "== $name failed with $code" ;;
    esac
}


# What the GPU is called in profiles/: nvidia-h200 for an "NVIDIA H200"
gpu=$("$python" -c 'import re, torch; print(re.sub("[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()))')
cifar=("$python" -m benchmarks.cifar --data "imagefolder:$images")
step profile "$python" -m benchmarks.device_profile --name "$gpu" --device cuda --batches 1 64 \
    --models resnet18 resnet50 mobilenet_v3_large --processes 2 --data "imagefolder:$images"
step gpu-tests "$python" -m pytest -q -p no:cacheprovider tests/test_local_target.py \
    tests/test_hardware_latency.py tests/test_runtimes.py tests/test_memory.py
# The paper's rows. Each has its own clock, half a minute before that of its step, so that it ends
# after a candidate or an epoch. Both stages of a teacher share their candidates, whatever row asks.
row() {
    local name="paper-$*" left
    left=$((end - $(date +%s) - 30))
    [ "$left" -lt 30 ] && { collect; exit 75; }
    step "${name//[^a-z0-9-]/_}" "$python" -m benchmarks.paper "$@" --device cuda \
        --data-root "$data" --cifar-images "$images" \
        --minutes "$((left / 60)).$((left % 60 * 10 / 60))"
}
row table1-cifar10-resnet18
row table1-cifar10-resnet18-stage1
row table4-mnist-vgg13-20k
# Strategies at equal evaluations, the same teacher as on the CPU; the first seeds first.
strategies() {
    step "strategies-${1//[^a-z0-9-]/_}-$2" "$python" -m benchmarks.strategies --case "$1" \
        --seeds $2 --device cuda --data "imagefolder:$images" \
        --teacher benchmarks/teachers/resnet20-cifar10-jpeg.pt \
        --strategies "policies, blocks, budget prior, screened, aligned, zero-cost, by size and depth" \
        "random actions, blocks" "evolution, blocks" "uniform width" "random actions" evolution \
        "uniform width, new weights"
}
for seed in 0 1 2; do
    strategies cifar10-10% "$seed"
    strategies cifar10-3% "$seed"
done
row table4-cifar10-vgg19-1m
row table1-cifar10-resnet34
row table5-resnet18-resnet34
row table4-cifar10-resnet18-latency
row table4-cifar10-resnet18-power
row table1-cifar10-vgg19
row table1-mnist-vgg13
row table3-cifar10-resnet18-squeezenet
row table2-cifar10-resnet18 --seeds 0
step resnet18-1m "${cifar[@]}" --cases 1m --strategies policies
step baselines "${cifar[@]}" --cases 1m
row table5-resnet34-resnet18
row table5-vgg11-vgg19
row table4-cifar10-resnet18-several
row table4-mnist-vgg13-worst-class
row 'table6-*'
row 'table3-*'
row 'appendix-*'
row 'table2-*'
row 'table1-*'
step more-seeds "${cifar[@]}" --seeds 1 2
row 'table1-*' --recipe paper
collect
echo "== all done"
