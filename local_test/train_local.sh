#!/usr/bin/env bash
# Trains with plain docker run, in the folders SageMaker gives a job. Ctrl-C stops it with SIGTERM as SageMaker does: it
# writes a checkpoint, and the same command goes on from there.
#
# usage: local_test/train_local.sh [--data DIR] [--weights FILE] [--out DIR] [HYPERPARAMETER=VALUE ...]
#
#   --data DIR      labelled pictures (default: a small set it draws)
#   --weights FILE  pretrained weights; a name as torchvision gives them (resnet50-11ad3fa6.pth) says the architecture
#   --out DIR       becomes /opt/ml: input/config, model, output, checkpoints (default: local_test/out/train_local)
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
here=$(cd "$(dirname "$0")" && pwd)
source "$here/container.sh"
image=byoc-vision-train:latest

data='' weights='' out=$here/out/train_local settings=()
while [[ $# -gt 0 ]]; do
    case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --data | --weights | --out)
        [[ -n ${2:-} ]] || fail "$1 wants a value"
        declare "${1#--}=$2"
        shift 2
        ;;
    *=*) settings+=("$1") && shift ;;
    -h | --help) usage && exit ;;
    *) fail "unknown argument '$1'; --help says what there is" ;;
    esac
done
[[ -z $data || -d $data ]] || fail "$data is not a folder; --data wants one with labelled pictures"
[[ -z $weights || -f $weights ]] || fail "$weights is not a file; --weights wants one of pretrained weights"
need_image "$image"
mkdir -p "$out" || fail "the results have no place, for the reason above; --out names a folder of your own"
out=$(folder "$out")
name=byoc-vision-train-$(cksum <<<"$out" | cut -d ' ' -f 1) # two jobs in one folder would spoil each other's files
[[ -z $(docker ps --quiet --filter "name=^$name\$") ]] ||
    fail "another job trains in $out; wait for its end, or give this one a folder of its own with --out"

channels=(training) mounts=()
if [[ -z $data ]]; then
    "$here/setup.sh"
    data=$out/pictures
    drawn=$(PYTHONPATH=$here/.. "$here/../.venv/bin/python" -m local_test.draw "$data")
    [[ -n $weights ]] || while read -r line; do settings=("$line" ${settings[@]+"${settings[@]}"}); done <<<"$drawn"
fi
mounts+=(--mount "$(mount "$(folder "$data")" /opt/ml/input/data/training readonly)")
if [[ -n $weights ]]; then
    file=$(basename "$weights")
    arch=$(sed -n 's/-[0-9a-f]\{8\}\.[a-z]*$//p' <<<"$file")
    [[ -z $arch ]] || settings=("arch=$arch" ${settings[@]+"${settings[@]}"})
    channels+=(weights)
    source=$(folder "$(dirname "$weights")")/$file
    mounts+=(--mount "$(mount "$source" "/opt/ml/input/data/weights/$file" readonly)")
fi

config=$out/input/config
mkdir -p "$config" "$out/model" "$out/output/data" "$out/checkpoints"
rm -f "$out/output/failure" "$out/output/data/metrics.json"
object() { # lines NAME=VALUE as a JSON object; of two equal names the last counts
    echo "{$(sed -n 's/[\\"]/\\&/g; s/^\([^=]*\)=\(.*\)$/"\1": "\2"/p' | paste -sd , -)}"
}
printf '%s\n' ${settings[@]+"${settings[@]}"} | object >"$config/hyperparameters.json"
echo "{$(printf '"%s": {"TrainingInputMode": "File"}\n' "${channels[@]}" | paste -sd , -)}" >"$config/inputdataconfig.json"
echo '{"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}' >"$config/resourceconfig.json"

status=0
run_container --name "$name" --hostname algo-1 --env OMP_NUM_THREADS \
    --mount "$(mount "$out" /opt/ml)" "${mounts[@]}" "$image" train || status=$?
give_to_caller "$out" "$image"
if [[ $status != 0 ]]; then
    reason=$(head -n 1 "$out/output/failure" 2>/dev/null || echo "see the lines above")
    [[ $reason != */opt/ml* ]] || reason+=" (/opt/ml is $out)"
    fail "training failed: $reason"
fi
if [[ -f $out/output/data/metrics.json ]]; then
    echo "local_test/serve_local.sh $out/model serves the model"
    [[ ! -f $out/output/data/report.html ]] || echo "the report is $out/output/data/report.html"
    echo "the model is in $out/model, its figures in $out/output/data"
elif [[ -n $stopped ]]; then
    echo "stopped; the same command goes on from $out/checkpoints"
    exit 130
else
    echo "the features are in $out/checkpoints/features"
fi
