#!/usr/bin/env bash
# Train on several GPUs: tools/dist_train.sh CONFIG GPUS [arguments of ugatit train]
# Several machines, restarts: see torchrun.sh.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500 MAX_RESTARTS=0] $0 CONFIG GPUS [arguments]" >&2
    exit 2
fi
config=$1
gpus=$2
shift 2

exec "$(dirname "$0")/torchrun.sh" "$gpus" train.py "$config" --launcher pytorch "$@"
