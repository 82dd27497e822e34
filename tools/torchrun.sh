#!/usr/bin/env bash
# Start a tool in several processes: tools/torchrun.sh GPUS TOOL [arguments]; dist_train.sh and
# dist_test.sh do. Without a GPU the processes run on the CPU with gloo.
#   NNODES, NODE_RANK, MASTER_ADDR, PORT   several machines: set them on each
#   JOIN_TIMEOUT=300    seconds until all machines must be there
#   MAX_RESTARTS=0      how often all processes start again after one has failed; a training then,
#                       and at its first start, goes on from the newest checkpoint of its work dir
set -euo pipefail
gpus=$1
tool=$2
shift 2
address=${MASTER_ADDR:-127.0.0.1}
port=${PORT:-29500}
patience=${JOIN_TIMEOUT:-300}

# torchrun would say that a socket has timed out, in fifty lines.
if [ "${NODE_RANK:-0}" != 0 ]; then
    until timeout 5 bash -c ": <>/dev/tcp/$address/$port" 2>/dev/null; do
        if [ "$SECONDS" -ge "$patience" ]; then
            echo "error: no answer from $address:$port in $patience s. Is node 0 running there? Are MASTER_ADDR and" \
                "PORT the same on all machines, and does no firewall stand between?" >&2
            exit 1
        fi
        sleep 1
    done
fi

# This machine's address on the way to node 0. On node 0 itself MASTER_ADDR must be its own.
own=$("${PYTHON:-python}" - "$address" "$port" "${NODE_RANK:-0}" <<'END'
import socket, sys
address, port, node = sys.argv[1:]
try:
    family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as way:
        way.connect(place)
        print(way.getsockname()[0])
except OSError as error:
    sys.exit(f'error: MASTER_ADDR={address}, PORT={port}: {error}')
try:
    with socket.socket(family, kind) as mine:
        mine.bind((place[0], 0, *place[2:]))
except OSError:
    if node == '0':
        sys.exit(f'error: MASTER_ADDR={address} is no address of this machine, which is node 0')
END
)

# torchrun's plain rendezvous keeps the addresses of the processes that failed.
rendezvous=(
    --node_rank="${NODE_RANK:-0}"
    --master_addr="$address"
    --master_port="$port"
    --rdzv_conf="timeout=$patience"
)
if [ "${MAX_RESTARTS:-0}" != 0 ]; then
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    host=0
    [ "${NODE_RANK:-0}" != 0 ] || host=1
    rendezvous=(
        --local_addr="$own" # torchrun would take the machine's name
        --max_restarts="$MAX_RESTARTS"
        --rdzv_backend=c10d
        --rdzv_id="$port"
        --rdzv_endpoint="$address:$port"
        --rdzv_conf="is_host=$host,join_timeout=$patience"
    )
fi

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --nproc_per_node="$gpus" \
    "${rendezvous[@]}" \
    "$(dirname "$0")/$tool" "$@"
