-- Accounts that were deleted: what their calls were called, and whose they were.

CREATE TABLE deleted_account (
    id bigint PRIMARY KEY,
    username text COLLATE "C" NOT NULL,
    parent_id bigint,
    type smallint NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deleted_account_parent ON deleted_account (parent_id) WHERE parent_id IS NOT NULL;
COMMENT ON TABLE deleted_account IS 'Accounts that were deleted, for their calls; docs/operate.rst says when a row can go';
COMMENT ON COLUMN deleted_account.id IS 'As it was; no other account gets it';
COMMENT ON COLUMN deleted_account.username IS 'What it was called; another account may be called so by now';
COMMENT ON COLUMN deleted_account.parent_id IS 'Owner when it was deleted, deleted itself perhaps; empty: none';
COMMENT ON COLUMN deleted_account.type IS 'What it was, mizu.model.AccountType';
COMMENT ON COLUMN deleted_account.deleted_at IS 'When that was';

CREATE FUNCTION account_remembered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_account (id, username, parent_id, type) SELECT id, username, parent_id, type FROM old_rows
        ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_remembered() IS 'Keeps what calls need of an account that is deleted';
CREATE TRIGGER account_remembered AFTER DELETE ON account
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION account_remembered();

-- Of those deleted before, the audit list knows.
INSERT INTO deleted_account (id, username, parent_id, type, deleted_at)
SELECT (gone->>'id')::bigint, gone->>'username',
    CASE WHEN jsonb_typeof(gone->'parent_id') = 'number' THEN (gone->>'parent_id')::bigint END,
    CASE WHEN jsonb_typeof(gone->'type') = 'number' THEN (gone->>'type')::smallint ELSE 0 END, at
FROM (SELECT one->'before' AS gone, coalesce(ended_at, begun_at) AS at
    FROM (SELECT * FROM audit WHERE command = 'deluser' AND outcome = 'ok' AND jsonb_typeof(changes) = 'array') a,
    jsonb_array_elements(a.changes) one
    WHERE one->>'topic' = 'account' AND jsonb_typeof(one->'after') = 'null') entry
WHERE gone->>'id' ~ '^[0-9]{1,18}$' AND gone->>'username' <> ''
    AND NOT EXISTS (SELECT FROM account WHERE id = (gone->>'id')::bigint)
ON CONFLICT (id) DO NOTHING;

CREATE VIEW account_ever AS
    SELECT id, username, parent_id FROM account UNION ALL SELECT id, username, parent_id FROM deleted_account;
COMMENT ON VIEW account_ever IS 'Accounts that are or were there';
COMMENT ON COLUMN account_ever.id IS 'Of the account, for ever';
COMMENT ON COLUMN account_ever.username IS 'As it is or was';
COMMENT ON COLUMN account_ever.parent_id IS 'Owner, now or when it was deleted; empty: none';
COMMENT ON COLUMN account_ever.id IS 'Number of the account';
COMMENT ON COLUMN account_ever.username IS 'What it is or was called';
COMMENT ON COLUMN account_ever.parent_id IS 'Owner, as it is or was when the account was deleted';

CREATE FUNCTION account_subtree_ever(root bigint) RETURNS TABLE (id bigint) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE below (id) AS (
        SELECT s.id FROM account_subtree(root) s
        UNION
        SELECT d.id FROM below JOIN deleted_account d ON d.parent_id = below.id
    ) SELECT id FROM below
$$;
COMMENT ON FUNCTION account_subtree_ever(bigint) IS 'The account, everything below it, and what was below any of that when it was deleted';

CREATE FUNCTION account_within_ever(account_id bigint, root bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    WITH RECURSIVE up (id, parent_id) AS (
        SELECT id, parent_id FROM account_ever WHERE id = account_id
        UNION
        SELECT a.id, a.parent_id FROM up JOIN account_ever a ON a.id = up.parent_id WHERE up.id <> root
    ) SELECT EXISTS (SELECT FROM account WHERE id = root) AND EXISTS (SELECT FROM up WHERE id = root)
$$;
COMMENT ON FUNCTION account_within_ever(bigint, bigint) IS 'Is the account the root or below it, or was it when it was deleted?';
