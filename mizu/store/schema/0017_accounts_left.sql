-- An operator who is limited to an account and everything below it may have to wait while others move accounts.
-- Whether something left meanwhile is seen here (mizu.store.departures): what they saw before they waited is not
-- true then, and their change is tried anew.

CREATE TABLE account_left (
    account_id bigint PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    by_transaction xid8 NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE account_left IS 'Accounts that something below was moved away from, kept by the trigger account_left';
COMMENT ON COLUMN account_left.account_id IS 'What it is not below any more';
COMMENT ON COLUMN account_left.by_transaction IS 'The last transaction that moved something away';

-- Whoever changes owners holds the same lock (account_check_parent), so that nobody waits for each other here.
CREATE FUNCTION account_note_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 2);
    INSERT INTO account_left (account_id, by_transaction)
        SELECT owner, pg_current_xact_id() FROM (
            SELECT account_owners(OLD.parent_id) EXCEPT SELECT account_owners(NEW.parent_id)
        ) left_behind (owner) ORDER BY owner
        ON CONFLICT (account_id) DO UPDATE SET by_transaction = excluded.by_transaction
            WHERE account_left.by_transaction <> excluded.by_transaction;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_note_left() IS 'Notes what an account and everything below it are not below any more';
CREATE TRIGGER account_left AFTER UPDATE OF parent_id ON account
    FOR EACH ROW WHEN (OLD.parent_id IS NOT NULL AND OLD.parent_id IS DISTINCT FROM NEW.parent_id)
    EXECUTE FUNCTION account_note_left();

CREATE FUNCTION account_check_left(root bigint, seen xid8) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM account_left WHERE account_id = root AND by_transaction IS DISTINCT FROM seen) THEN
        RAISE EXCEPTION 'accounts were moved away meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
END $$;
COMMENT ON FUNCTION account_check_left(bigint, xid8) IS 'Fails, so that the transaction is tried anew, if something was moved away from below the account since then';
