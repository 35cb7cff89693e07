-- What a ledger that was restored into another cluster allows, and nothing else: its credits' xids belong to the old cluster, so
-- `casaflow refold` gives them one that is older than all of this one, and folds them. See decision record 0013.

-- Whether the xids of this ledger are another cluster's.
CREATE FUNCTION ledger_is_restored() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT (SELECT c.system_identifier FROM ledger_cluster c) IS DISTINCT FROM (SELECT s.system_identifier FROM pg_control_system() s)
$$;

-- Credits are insert-only; a restored ledger's may be given the frozen xid, which the second trigger sees to.
CREATE FUNCTION refuse_change_of_credits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND ledger_is_restored() THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% of % is not allowed: entries are insert-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
DROP TRIGGER insert_only ON offline_entry;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON offline_entry EXECUTE FUNCTION refuse_change_of_credits();
-- As JSON, so that a column which comes later is covered as well. 3 is the first xid that a cluster gives out, long before it has a ledger.
CREATE TRIGGER only_the_frozen_xid BEFORE UPDATE ON offline_entry FOR EACH ROW
    WHEN (NEW.xid <> '3' OR to_jsonb(NEW) - 'xid' <> to_jsonb(OLD) - 'xid') EXECUTE FUNCTION refuse_change();

-- folded_until may go back only where all credits of the account are frozen and folded.
CREATE OR REPLACE FUNCTION refuse_unfolding() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF ledger_is_restored() AND NEW.folded_except = '{}'
       AND to_jsonb(NEW) - ARRAY['folded', 'folded_until', 'folded_except'] = to_jsonb(OLD) - ARRAY['folded', 'folded_until', 'folded_except']
       AND NEW.folded = (SELECT coalesce(sum(amount), 0) FROM offline_entry
                          WHERE tenant = NEW.tenant AND account_id = NEW.account_id AND xid = '3')
       AND NOT EXISTS (SELECT FROM offline_entry WHERE tenant = NEW.tenant AND account_id = NEW.account_id AND xid <> '3') THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'folded_until of account % may not decrease', OLD.account_id USING ERRCODE = 'integrity_constraint_violation';
END $$;
