-- Roles for those that post nothing: relays mark events as published, consumers write the stores of their groups. See decision record 0042.

-- expand: makes roles, and lets the owner and casaflow_app become them
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['casaflow_relay', 'casaflow_consumer'] LOOP
        -- Roles are the cluster's: another database may have brought it, or bring it at this moment.
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'the role % is missing, and % may not create it', role, current_user
                        USING ERRCODE = 'insufficient_privilege',
                              HINT = format('as a superuser: CREATE ROLE %I NOLOGIN; GRANT %I TO %I, casaflow_app;', role, role, current_user);
            END;
        END IF;
        -- The owner, and whoever logs in as a member of casaflow_app as before, can turn into it. Who has made the role may grant it; what is
        -- missing the processes say. Two databases that do so at one moment get in each other's way; the second look finds it done.
        FOR attempt IN 1 .. 3 LOOP
            EXIT WHEN pg_has_role(current_user, role, 'SET') AND pg_has_role('casaflow_app', role, 'SET');
            BEGIN
                EXECUTE format('GRANT %I TO %I, casaflow_app WITH SET TRUE', role, current_user);
            EXCEPTION
                WHEN unique_violation OR internal_error THEN NULL;
                WHEN insufficient_privilege THEN EXIT;
            END;
        END LOOP;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
END $$;

GRANT SELECT, UPDATE (published_at) ON event_outbox TO casaflow_relay;

-- Of the ledger, what closing a statement and the topic of balances ask for.
GRANT SELECT (topic, time, published_at) ON event_outbox TO casaflow_consumer;
GRANT SELECT (tenant, account_id, currency, status) ON account TO casaflow_consumer;
GRANT SELECT (tenant, account_id, version, debited) ON online_balance TO casaflow_consumer;
GRANT SELECT ON account_balance TO casaflow_consumer;
GRANT EXECUTE ON FUNCTION settled_until() TO casaflow_consumer;

-- Of the groups' stores, what casaflow_app may; sending a message once more is an operator's.
GRANT USAGE ON SCHEMA audit, statement, mis, notification TO casaflow_consumer;
-- expand: grants columns to a role that is new
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT CAST(c.oid AS regclass) AS relation, v.verb, string_agg(format('%I', a.attname), ', ') AS columns
          FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS v (verb)
         WHERE c.relnamespace IN (CAST('audit' AS regnamespace), CAST('statement' AS regnamespace), CAST('mis' AS regnamespace),
                                  CAST('notification' AS regnamespace))
           AND c.relkind IN ('r', 'p') AND c.oid <> CAST('notification.replay' AS regclass)
           AND has_column_privilege('casaflow_app', c.oid, a.attnum, v.verb)
         GROUP BY c.oid, v.verb
    LOOP
        -- Tables are read as a whole, so that columns of later revisions are.
        EXECUTE format('GRANT %s ON %s TO casaflow_consumer',
                       given.verb || CASE WHEN given.verb = 'SELECT' THEN '' ELSE format(' (%s)', given.columns) END, given.relation);
    END LOOP;
END $$;
