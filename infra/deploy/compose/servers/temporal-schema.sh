#!/bin/sh
# Brings both databases of Temporal to the schema of this version of its tools; safe to repeat, and what an upgrade of Temporal begins with.
set -eu
SQL_PASSWORD=$(cat /run/secrets/temporal_postgres)
export SQL_PASSWORD
for database in temporal temporal_visibility; do
    folder=${database#temporal_}
    tool="temporal-sql-tool --plugin postgres12 --ep temporal-postgres --port 5432 --user temporal --db $database"
    $tool setup-schema --version 0.0
    $tool update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$folder/versioned"
done
