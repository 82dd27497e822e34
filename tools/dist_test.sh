#!/usr/bin/env bash
# Test on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of ugatit test]
# Several machines: see torchrun.sh.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500] $0 CONFIG CHECKPOINT GPUS [arguments]" >&2
    exit 2
fi
config=$1
checkpoint=$2
gpus=$3
shift 3

exec "$(dirname "$0")/torchrun.sh" "$gpus" test.py "$config" "$checkpoint" --launcher pytorch "$@"
