-- Limits that calls are held to: read with the account and its owners, channels counted with the call rows.

-- ------------------------------------------------------------------ limits of an account, ready to be read

CREATE FUNCTION account_limits_of(max_channels integer, allowed_partners text, enabled_prefixes text,
    enabled_tech_prefixes text, blocked_prefixes text, only_test_calls boolean, test_prefix text)
    RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT nullif(jsonb_strip_nulls(jsonb_build_object(
        'max_channels', nullif(max_channels, 0),
        'allowed_partners', nullif(allowed_partners, '*'),
        'enabled_prefixes', nullif(enabled_prefixes, '*'),
        'enabled_tech_prefixes', nullif(nullif(enabled_tech_prefixes, ''), '*'),
        'blocked_prefixes', nullif(blocked_prefixes, ''),
        'only_test_calls', nullif(only_test_calls, false),
        'test_prefix', nullif(nullif(test_prefix, ''), '*'),
        'groups', (SELECT jsonb_agg(substr(item, 2)::bigint)
            FROM unnest(string_to_array(allowed_partners, ',')) item WHERE item ~ '^g[0-9]{1,18}$'))), '{}'::jsonb)
$$;
COMMENT ON FUNCTION account_limits_of(integer, text, text, text, text, boolean, text) IS 'The fields that limit calls, without those that limit nothing; empty: none does';

ALTER TABLE account ADD COLUMN limits jsonb GENERATED ALWAYS AS (account_limits_of(max_channels, allowed_partners,
    enabled_prefixes, enabled_tech_prefixes, blocked_prefixes, only_test_calls, test_prefix)) STORED;
COMMENT ON COLUMN account.limits IS 'The fields that limit its calls and those of everything below it; empty: none does';

CREATE FUNCTION account_limits_with_members(limits jsonb) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT limits || jsonb_build_object('members', (SELECT coalesce(jsonb_agg(DISTINCT m.account_id), '[]')
        FROM account_group_member m
        WHERE m.group_id = ANY (ARRAY(SELECT jsonb_array_elements_text(limits -> 'groups')::bigint))))
$$;
COMMENT ON FUNCTION account_limits_with_members(jsonb) IS 'Limits whose partners are groups, with the members of these';
-- Lists of partners that name groups are found by the groups.
CREATE INDEX account_partner_groups ON account (id) WHERE allowed_partners LIKE '%g%';

CREATE FUNCTION account_above(account_id bigint) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH RECURSIVE up (id, parent_id, limits, level) AS (
        SELECT id, parent_id, limits, 0 FROM account WHERE id = account_id
        UNION ALL
        SELECT a.id, a.parent_id, a.limits, level + 1 FROM up JOIN account a ON a.id = up.parent_id
    ) SELECT jsonb_agg(jsonb_build_array(id,
        CASE WHEN limits ? 'groups' THEN account_limits_with_members(limits) ELSE limits END) ORDER BY level) FROM up
$$;
COMMENT ON FUNCTION account_above(bigint) IS 'The account and everything above it, upward: id and limits of each';

-- ------------------------------------------------------------------ who hears of a change

CREATE FUNCTION note_accounts(ids bigint[], with_below boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text[];
BEGIN
    IF with_below THEN
        WITH RECURSIVE below (id) AS (
            SELECT unnest(ids)
            UNION
            SELECT a.id FROM below JOIN account a ON a.parent_id = below.id
        )
        SELECT array_agg(username) INTO names
            FROM (SELECT username FROM below JOIN account USING (id) LIMIT 1001) every;
    ELSE
        SELECT array_agg(username) INTO names FROM account WHERE id = ANY (ids);
    END IF;
    IF names IS NOT NULL THEN
        PERFORM note_change('account', names);
    END IF;
END $$;
COMMENT ON FUNCTION note_accounts(bigint[], boolean) IS 'Tell every node that these accounts, or they and everything below them, are not what they were';

CREATE OR REPLACE FUNCTION account_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    names text[];
    owners bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(username) INTO names FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(username) INTO names FROM old_rows;
    ELSE
        SELECT array_agg(username) INTO names
            FROM (SELECT username FROM new_rows UNION SELECT username FROM old_rows) every;
        -- what stops, starts or limits an account does so for everything below it
        -- (planned each time: a plan that was kept is for as many rows as the first change had)
        EXECUTE 'SELECT array_agg(n.id) FROM new_rows n JOIN old_rows o USING (id)
            WHERE (n.enabled, n.suspended, n.parent_id, n.limits)
                IS DISTINCT FROM (o.enabled, o.suspended, o.parent_id, o.limits)
            AND EXISTS (SELECT FROM account a WHERE a.parent_id = n.id)' INTO owners;
        IF owners IS NOT NULL THEN
            PERFORM note_accounts(owners, true);
        END IF;
    END IF;
    IF names IS NOT NULL THEN
        PERFORM note_change('account', names);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION note_members(groups bigint[], members bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_accounts(members, false);
    PERFORM note_accounts((SELECT array_agg(id) FROM account WHERE allowed_partners LIKE '%g%'
        AND string_to_array(allowed_partners, ',') && ARRAY(SELECT 'g' || g FROM unnest(groups) g)), true);
END $$;
COMMENT ON FUNCTION note_members(bigint[], bigint[]) IS 'Tell every node that these accounts joined or left groups: of them, and of whose partners the groups are';
CREATE OR REPLACE FUNCTION account_group_member_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM note_members(array_agg(DISTINCT group_id), array_agg(DISTINCT account_id)) FROM new_rows;
    ELSE
        PERFORM note_members(array_agg(DISTINCT group_id), array_agg(DISTINCT account_id)) FROM old_rows;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION account_group_member_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_members(array_agg(DISTINCT group_id), array_agg(DISTINCT account_id))
        FROM (SELECT * FROM new_rows UNION ALL SELECT * FROM old_rows) every;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION account_group_altered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    for_people text[] := '{id,note,version,created_at}';
BEGIN
    PERFORM note_accounts((SELECT array_agg(account_id) FROM (
        SELECT DISTINCT m.account_id FROM new_rows n JOIN old_rows o USING (id)
        JOIN account_group_member m ON m.group_id = n.id
        WHERE to_jsonb(n) - for_people IS DISTINCT FROM to_jsonb(o) - for_people LIMIT 1001
    ) members), false);
    RETURN NULL;
END $$;

-- ------------------------------------------------------------------ channels

ALTER TABLE call ADD COLUMN channels bigint[];
COMMENT ON COLUMN call.channels IS 'Accounts with a limit of channels that the call counts for until it ends; empty: none';
CREATE INDEX call_channels ON call (node) WHERE channels IS NOT NULL AND end_at IS NULL;

CREATE TABLE channel_use (
    account_id bigint PRIMARY KEY,
    in_use integer NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE channel_use IS 'Calls under way of accounts that limit them, kept by the trigger call_channels';
COMMENT ON COLUMN channel_use.account_id IS 'The account whose limit it is. No foreign key: a call row must never fail for it';
COMMENT ON COLUMN channel_use.in_use IS 'Calls that have not ended and whose channels name the account';

CREATE FUNCTION call_channels_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before bigint[] := '{}';
    after bigint[] := '{}';
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.end_at IS NULL THEN
        before := coalesce(OLD.channels, '{}');
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.end_at IS NULL THEN
        after := coalesce(NEW.channels, '{}');
    END IF;
    IF before IS DISTINCT FROM after THEN
        UPDATE channel_use SET in_use = in_use - 1
            WHERE account_id = ANY (before) AND NOT account_id = ANY (after) AND in_use > 0;
        INSERT INTO channel_use (account_id, in_use)
            SELECT a, 1 FROM unnest(after) a WHERE NOT a = ANY (before) ORDER BY a
            ON CONFLICT (account_id) DO UPDATE SET in_use = channel_use.in_use + 1;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION call_channels_changed() IS 'Counts what a call begins and ceases to count for';
CREATE TRIGGER call_channels_inserted AFTER INSERT ON call
    FOR EACH ROW WHEN (NEW.channels IS NOT NULL) EXECUTE FUNCTION call_channels_changed();
CREATE TRIGGER call_channels_updated AFTER UPDATE OF channels, end_at ON call
    FOR EACH ROW WHEN (OLD.channels IS NOT NULL OR NEW.channels IS NOT NULL)
    EXECUTE FUNCTION call_channels_changed();
CREATE TRIGGER call_channels_deleted AFTER DELETE ON call
    FOR EACH ROW WHEN (OLD.channels IS NOT NULL) EXECUTE FUNCTION call_channels_changed();

-- Every transaction that changes counts locks all of them first, in one order, so that none waits for another
-- that waits for it.
CREATE FUNCTION channel_lock(accounts bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO channel_use (account_id, in_use)
        SELECT a, 0 FROM (SELECT DISTINCT unnest(accounts) a) every ORDER BY a ON CONFLICT DO NOTHING;
    PERFORM FROM channel_use WHERE account_id = ANY (accounts) ORDER BY account_id FOR UPDATE;
END $$;
COMMENT ON FUNCTION channel_lock(bigint[]) IS 'Nobody else changes these counts until the commit';

CREATE FUNCTION channel_take(calls uuid[], of_call uuid[], accounts bigint[], most integer[])
    RETURNS TABLE (refused uuid, account_id bigint) LANGUAGE plpgsql AS $$
DECLARE
    one uuid;
    held bigint[];
BEGIN
    FOREACH one IN ARRAY calls LOOP
        SELECT coalesce(c.channels, '{}') INTO held FROM call c WHERE c.call_id = one AND c.end_at IS NULL;
        IF NOT FOUND THEN
            refused := one;
            account_id := NULL;
            RETURN NEXT;
            CONTINUE;
        END IF;
        SELECT w.account INTO account_id
            FROM unnest(of_call, accounts, most) WITH ORDINALITY w (call, account, most, place)
            JOIN channel_use u ON u.account_id = w.account
            WHERE w.call = one AND u.in_use >= w.most AND NOT w.account = ANY (held)
            ORDER BY place LIMIT 1;
        IF FOUND THEN
            refused := one;
            RETURN NEXT;
        ELSE
            UPDATE call c SET channels = (SELECT array_agg(w.account)
                FROM unnest(of_call, accounts) w (call, account) WHERE w.call = one)
                WHERE c.call_id = one;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION channel_take(uuid[], uuid[], bigint[], integer[]) IS 'Each call counts for these accounts and no others from now on, or is told which has no channel left (empty: the call is over). Under channel_lock';

ALTER TABLE node ADD COLUMN alive_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN node.alive_at IS 'Last sign of life by the clock of the database: calls of a node that gives none hold no channels';
