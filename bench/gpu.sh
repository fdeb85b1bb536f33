#!/usr/bin/env bash
# What doob does on a GPU, in eight minutes: is it right, how fast is it, and what memory does it take. Needs only a PJRT plug-in,
# such as xla_cuda_plugin.so, whose path must have "cuda" in it: that is how the tensor library knows it.
#
#   DOOB_PJRT_PLUGIN=/path/to/xla_cuda_plugin.so bench/gpu.sh
#
# The machine needs Go and a C compiler, unless the two programs were built before, elsewhere:
#
#   bench/gpu.sh build DIR                       # on a machine with both
#   DOOB_GPU_PROGRAMS=DIR bench/gpu.sh           # on the machine with the GPU
#
# DOOB_GPU_SMALL=1 takes small sizes, and DOOB_GPU_PATIENCE=5 five times as long at most. With both, the script itself can be tried
# on the plug-in for the CPU that bench/pjrt.sh gets.
#
# Every part is a process with a limit of its own, and none keeps the next one from running. Exits with 1 if any failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build() {
  mkdir -p "$1"
  CGO_ENABLED=1 go build -tags xla -ldflags '-s -w' -o "$1/" ./cmd/doob ./bench/gpu
}

if [[ ${1-} == build ]]; then
  build "${2:?the folder for the programs}"
  exit
fi
if [[ ${DOOB_PJRT_PLUGIN-} != /* || ! -f $DOOB_PJRT_PLUGIN ]]; then
  echo "bench/gpu.sh: DOOB_PJRT_PLUGIN is '${DOOB_PJRT_PLUGIN-}', want the absolute path of a PJRT plug-in; bench/pjrt.sh gets one for the CPU" >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
programs=${DOOB_GPU_PROGRAMS-}
if [[ -z $programs ]]; then
  programs=$work/programs
  build "$programs" || exit
fi
export DOOB_DATA=$work/data # networks of other runs are not to be found
backend=xla:$DOOB_PJRT_PLUGIN
small=()
[[ -n ${DOOB_GPU_SMALL-} ]] && small=(-small)
failed=()
began=$SECONDS

# part NAME SECONDS COMMAND… runs a part, which may take so long.
part() {
  local name=$1 limit=$(($2 * ${DOOB_GPU_PATIENCE:-1})) start=$SECONDS code=0 how=ok
  shift 2
  printf '== %s\n' "$name"
  timeout -k 2 "$limit" "$@" >"$work/log" 2>&1 || code=$?
  case $code in
  0) ;;
  124 | 137) how="FAILED: not done in $limit s" ;;
  *) how="FAILED with $code" ;;
  esac
  tail -n 100 "$work/log" | cut -c 1-300 | sed 's/^/   /'
  ((code == 0)) || failed+=("$name")
  printf '== %s: %s, %d s\n\n' "$name" "$how" $((SECONDS - start))
}

# toy runs a small experiment on the device and on package cpu, whose log Ẑ must be the same. The draws are, for they are made on the host.
toy() {
  local at z=()
  for at in "$backend" cpu; do
    "$programs/doob" run toy --backend "$at" --out "$work/toy-${at%%:*}" --set 'methods=[base, importance]' --set samples=500 \
      --set 'importance={iterations: 2, paths: 100, updates: 10, batch: 50}' --set pretrain.steps=100 || return
    z+=("$(grep -o '"log_z": *[-0-9.e]*' "$work/toy-${at%%:*}/report.json" | grep -o '[-0-9.e]*$' | tr '\n' ' ')")
  done
  printf 'log Z and its errors\n   on the device %s\n   on cpu        %s\n' "${z[@]}"
  awk -v a="${z[0]}" -v b="${z[1]}" 'BEGIN {
    n = split(a, x, " "); m = split(b, y, " ")
    if (n == 0 || n != m) { print "there are " n " and " m " of them, want equally many, and some"; exit 1 }
    for (i = 1; i <= n; i++) if (!((x[i] - y[i]) ^ 2 <= 0.01 ^ 2)) { print "they differ by more than 0.01"; exit 1 }
  }'
}
export -f toy
export programs backend work

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi: memory is that of the processes'
part doctor 50 "$programs/doob" doctor --backend "$backend" --dir "$work"
part toy 50 bash -c toy
part attention 50 "$programs/gpu" -backend "$backend" "${small[@]}" attention
part donation 30 "$programs/gpu" -backend "$backend" "${small[@]}" donation
part 'U-Net, weights in F32' 80 "$programs/gpu" -backend "$backend" "${small[@]}" unet f32
part 'U-Net, weights in BF16' 60 "$programs/gpu" -backend "$backend" "${small[@]}" unet bf16
part 'U-Net, weights in F16' 50 "$programs/gpu" -backend "$backend" "${small[@]}" unet f16
part 'LoRA step' 90 "$programs/gpu" -backend "$backend" "${small[@]}" lora

if ((${#failed[@]})); then
  printf 'FAILED after %d s:' $((SECONDS - began))
  printf ' %s;' "${failed[@]}"
  echo
  exit 1
fi
echo "all parts are right, $((SECONDS - began)) s"
