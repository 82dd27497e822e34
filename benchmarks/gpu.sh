#!/usr/bin/env bash
# Check a GPU in ten minutes at most: does it compute the right numbers, and how fast is it?
# Rows are appended to benchmarks/results.csv. A part that fails or takes too long does not stop the
# others; the script then names it and ends with 1.
#   benchmarks/gpu.sh             on a GPU
#   benchmarks/gpu.sh --compile   also compiled settings: many minutes more
#   benchmarks/gpu.sh --models    instead: a step of every model and of its official order
#   benchmarks/gpu.sh --rehearse  everything on the CPU, tiny, in three minutes; no rows are kept
#   PYTHON=python ROWS=FILE       the interpreter, and another file for the rows
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

kept=${ROWS:-benchmarks/results.csv}
total=600 # seconds for all parts
patient=  # whether a part may take all remaining seconds
rehearsed=
models=
compile=()
case ${1:-} in
    '') ;;
    --compile) compile=(--compile) total=1800 patient=1 ;;
    --models) models=1 patient=1 ;;
    --rehearse)
        rehearsed=1 total=900 patient=1 kept=${ROWS:-/dev/null}
        # As on a machine without a GPU. On tiny networks a second thread is slower.
        export CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1
        ;;
    *)
        sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac

failed=()
# part NAME SECONDS COMMAND...: run it within its limit and the remaining seconds.
part() {
    local name=$1 limit=$2 start=$SECONDS left=$((total - SECONDS)) code
    shift 2
    [ -n "$patient" ] || [ "$limit" -gt "$left" ] && limit=$left
    printf '\n== %s\n' "$name"
    if [ "$limit" -lt 1 ]; then
        failed+=("$name: no time was left")
        return
    fi
    timeout --kill-after=5 "$limit" "$@"
    code=$?
    printf '== %s: %d s\n' "$name" $((SECONDS - start))
    case $code in
        0) ;;
        124 | 137) failed+=("$name: not ready after $limit s") ;;
        *) failed+=("$name: ended with $code") ;;
    esac
}

# Two iterations in one process that is the only rank: NCCL on a GPU, gloo on a CPU.
rank() {
    "$python" tools/dataset_converters/make_demo_data.py "$work/data" --size 72 --num-train 8 --num-test 2 &&
        RANK=0 LOCAL_RANK=0 WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=${PORT:-29517} \
            "$python" tools/train.py ugatit_demo --launcher pytorch --amp --work-dir "$work/rank" \
            --cfg-options data_root="$work/data" train_cfg.max_iters=2 train_cfg.val_interval=2 \
            train_dataloader.num_workers=0 train_dataloader.persistent_workers=False
}
export -f rank
export python work

bench=tools/benchmarks
rows=(--out "$work/rows.csv") # moved at the end: rows say whether files were changed
part machine 30 "$python" -c '
import numpy, platform, torch
from ugatit_mm.provenance import provenance
try:
    import triton
    found = triton.__version__
except ImportError:
    found = "none"
print(*(f"{key}: {value}" for key, value in provenance().items()), sep="\n")
print("python:", platform.python_version(), "numpy:", numpy.__version__, "triton:", found)
print("cuDNN:", torch.backends.cudnn.version(), "NCCL:", torch.cuda.is_available() and torch.cuda.nccl.version())
'
if [ -n "$models" ]; then
    part 'a step of every model' 0 "$python" $bench/step.py --model all --rounds 1 --steps 6 --launches \
        --settings float32 'float32, graph' 'bfloat16, graph' "${rows[@]}"
elif [ -n "$rehearsed" ]; then
    part 'parity and resume' 0 "$python" $bench/parity.py kernels steps resume --quick "${rows[@]}"
    part launches 0 "$python" $bench/launches.py --variant light --plain --img-size 96 --rows 5 "${rows[@]}"
    part 'a step' 0 "$python" $bench/step.py --quick --steps 1 --settings float32 bfloat16 "${rows[@]}"
    part translations 0 "$python" $bench/translate.py --quick --rounds 1 "${rows[@]}"
else
    # The first part of a kind waits a minute or two for Triton to compile some 120 kernels; later
    # parts read them from the disk. Each part imports for 5 to 20 seconds.
    part kernels 120 "$python" $bench/parity.py kernels --no-write
    for variant in light full; do
        part "a step, $variant" 180 "$python" $bench/step.py --variant $variant --rounds 1 --steps 8 \
            "${compile[@]}" "${rows[@]}"
    done
    part parity 150 "$python" $bench/parity.py steps "${rows[@]}"
    part translations 60 "$python" $bench/translate.py --rounds 20 "${compile[@]}" "${rows[@]}"
    part launches 60 "$python" $bench/launches.py --amp --rows 15 "${rows[@]}"
    part resume 90 "$python" $bench/parity.py resume
fi
[ -n "$models" ] || part 'a rank' 90 bash -c rank

if [ -f "$work/rows.csv" ]; then
    [ -s "$kept" ] || head -n 1 "$work/rows.csv" >"$kept"
    tail -n +2 "$work/rows.csv" >>"$kept"
fi
printf '\n%d s; rows are in %s\n' "$SECONDS" "$kept"
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
