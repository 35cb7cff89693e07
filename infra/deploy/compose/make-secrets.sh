#!/bin/sh
# Makes what ./secrets lacks, once; what is there stays as it is. The folder is its owner's alone; the files in it are readable, since
# Compose mounts them as they are and the processes in the containers are not root.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# keep NAME CONTENT: a file with this content, unless there is one.
keep() {
    [ -s "secrets/$1" ] && return
    printf '%s\n' "$2" > "secrets/$1.new"
    chmod 444 "secrets/$1.new"
    mv "secrets/$1.new" "secrets/$1"
    echo "secrets/$1" >&2
}

for name in postgres_superuser postgres_owner postgres_teller temporal_postgres grafana_admin; do
    keep "$name" "$(random)"
done
keep owner_url "postgresql://casaflow_owner:$(cat secrets/postgres_owner)@postgres:5432/casaflow"
keep teller_url "postgresql://casaflow_teller:$(cat secrets/postgres_teller)@postgres:5432/casaflow"
keep command_secrets "$(random)"
keep payload_keys "$(date +%Y-%m):$(head -c 32 /dev/urandom | base64 | tr -d '\n')"
