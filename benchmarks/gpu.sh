#!/usr/bin/env bash
# All that is to be known of a GPU, in ten minutes at most: is what it computes right, and how fast is it?
# Rows are appended to benchmarks/results.csv. A part that fails or takes too long does not stop the
# others; then the script ends with 1 and says which.
#   benchmarks/gpu.sh             on a GPU
#   benchmarks/gpu.sh --compile   compiled settings too: many minutes more
#   benchmarks/gpu.sh --models    instead: a step of every model beside its official order
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
patient=  # whether a part may take all that is left of them
rehearsed=
models=
compile=()
case ${1:-} in
    '') ;;
    --compile) compile=(--compile) total=1800 patient=1 ;;
    --models) models=1 patient=1 ;;
    --rehearse)
        rehearsed=1 total=900 patient=1 kept=${ROWS:-/dev/null}
        # As on a machine without a GPU. Tiny networks: a second thread costs more than it brings.
        export CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1
        ;;
    *)
        sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac

failed=()
# part NAME SECONDS COMMAND...: run it within its time and what is left of all.
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

# Two iterations in one process that is a rank of its own: NCCL on a GPU, gloo on a CPU.
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
rows=(--out "$work/rows.csv") # not at once: rows name the commit, and whether files were changed
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
    # The first part of a kind waits for Triton, which compiles some 120 kernels for a minute or two;
    # what it compiled, later parts find on the disk. Each imports for 5 to 20 seconds.
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
