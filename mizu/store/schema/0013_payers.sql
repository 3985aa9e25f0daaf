-- Who pays for whom ends somewhere: accounts do not pay for each other in a circle.

-- As with owners (account_check_parent): whoever changes a payer holds the same lock until the commit, and looks
-- at what is committed then. UNION ends a walk through a circle that was there before.
CREATE FUNCTION account_check_payer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'who pays for accounts is changed at isolation level read committed only'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_isolation';
    END IF;
    PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 2);
    IF EXISTS (
        WITH RECURSIVE payers (id) AS (
            SELECT NEW.billing_account_id
            UNION
            SELECT a.billing_account_id FROM payers p JOIN account a ON a.id = p.id
                WHERE a.billing_account_id IS NOT NULL
        ) SELECT FROM payers WHERE id = NEW.id
    ) THEN
        RAISE EXCEPTION 'account % cannot pay for account %: circle', NEW.billing_account_id, NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_payers';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION account_check_payer() IS 'Refuses accounts that pay for each other in a circle';
CREATE TRIGGER account_new_payer BEFORE INSERT ON account
    FOR EACH ROW WHEN (NEW.billing_account_id IS NOT NULL) EXECUTE FUNCTION account_check_payer();
CREATE TRIGGER account_other_payer BEFORE UPDATE OF billing_account_id ON account
    FOR EACH ROW WHEN (NEW.billing_account_id IS NOT NULL
        AND NEW.billing_account_id IS DISTINCT FROM OLD.billing_account_id)
    EXECUTE FUNCTION account_check_payer();

DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        WITH RECURSIVE payers (who, id) AS (
            SELECT id, billing_account_id FROM account WHERE billing_account_id IS NOT NULL
            UNION
            SELECT p.who, a.billing_account_id FROM payers p JOIN account a ON a.id = p.id
                WHERE a.billing_account_id IS NOT NULL
        ) SELECT a.id, a.username FROM payers p JOIN account a ON a.id = p.who WHERE p.id = p.who
            ORDER BY a.id LIMIT 40
    LOOP
        RAISE WARNING 'account #%, %, pays for itself by way of others: set another billing_account_id', one.id, quote_literal(one.username);
    END LOOP;
END $$;
