#!/bin/sh
# Run by PostgreSQL's image when its folder is empty. The owner migrates; the application logs in as a member of casaflow_app, so that it can
# post and can't touch what was posted, nor become the owner. See docs/decisions/0013-roles-refold-maintenance.md.
set -eu
owner_password=$(cat /run/secrets/postgres_owner)
teller_password=$(cat /run/secrets/postgres_teller)
export owner_password teller_password
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --file /etc/casaflow/roles.sql
