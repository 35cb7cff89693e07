#!/bin/sh
# Makes the namespace once. An existing one keeps its retention: `temporal operator namespace update` changes it.
set -eu
attempts=0
until temporal operator cluster health >/dev/null 2>&1; do
    attempts=$((attempts + 1))
    [ "$attempts" -lt 60 ] || { echo "Temporal does not answer at $TEMPORAL_ADDRESS" >&2; exit 1; }
    sleep 2
done
temporal operator namespace describe --namespace default >/dev/null 2>&1 ||
    temporal operator namespace create --namespace default --retention "$TEMPORAL_RETENTION"
