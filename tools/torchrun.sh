#!/usr/bin/env bash
# Start a tool in several processes: tools/torchrun.sh GPUS TOOL [arguments]. Used by dist_train.sh
# and dist_test.sh. Without a GPU the processes run on the CPU with gloo.
#   NNODES, NODE_RANK, MASTER_ADDR, PORT   several machines: set them on each
#   JOIN_TIMEOUT=300    seconds to wait for all machines
#   MAX_RESTARTS=0      how often all processes restart after one has failed; a training then, and
#                       at its first start, resumes from the newest checkpoint of its work dir
set -euo pipefail
gpus=$1
tool=$2
shift 2
address=${MASTER_ADDR:-127.0.0.1}
port=${PORT:-29500}
patience=${JOIN_TIMEOUT:-300}

# Replaces the fifty lines that torchrun prints for a socket timeout.
if [ "${NODE_RANK:-0}" != 0 ]; then
    until timeout 5 bash -c ": <>/dev/tcp/$address/$port" 2>/dev/null; do
        if [ "$SECONDS" -ge "$patience" ]; then
            echo "error: no answer from $address:$port in $patience s. Is node 0 running there? Are MASTER_ADDR and" \
                "PORT the same on all machines? Does a firewall block the port?" >&2
            exit 1
        fi
        sleep 1
    done
fi

# This machine's address on the route to node 0. On node 0, MASTER_ADDR must be its own address.
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
        sys.exit(f'error: MASTER_ADDR={address} is not an address of this machine, which is node 0')
END
)

# torchrun's static rendezvous keeps the addresses of failed processes: restarts need c10d.
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
        --local_addr="$own" # torchrun would use the host name
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
