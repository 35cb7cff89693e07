-- Passwords come from the environment, so that they stand on no command line.
\getenv owner_password owner_password
\getenv teller_password teller_password

CREATE ROLE casaflow_app NOLOGIN;
CREATE ROLE casaflow_relay NOLOGIN;
CREATE ROLE casaflow_consumer NOLOGIN;
CREATE ROLE casaflow_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE casaflow_teller LOGIN PASSWORD :'teller_password';
GRANT casaflow_app TO casaflow_owner, casaflow_teller;
-- What relays and consumers turn into; see docs/decisions/0042-lesser-roles.md.
GRANT casaflow_relay, casaflow_consumer TO casaflow_app, casaflow_owner;
-- The owner's functions must see the application's sessions, or nothing is ever settled in statements.
GRANT pg_read_all_stats TO casaflow_owner;
CREATE DATABASE casaflow OWNER casaflow_owner;
REVOKE CONNECT ON DATABASE casaflow FROM PUBLIC;
GRANT CONNECT ON DATABASE casaflow TO casaflow_app;
