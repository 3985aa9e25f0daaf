-- Accounts, registered contacts, calls, and the log of changes that nodes follow.

CREATE TABLE account (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id bigint REFERENCES account (id) ON DELETE RESTRICT,
    type smallint NOT NULL DEFAULT 0 CHECK (type BETWEEN 0 AND 17),
    auth_type smallint NOT NULL DEFAULT 4 CHECK (auth_type BETWEEN 0 AND 10),
    username text COLLATE "C" NOT NULL UNIQUE CHECK (length(username) BETWEEN 1 AND 255),
    ha1_md5 text CHECK (ha1_md5 ~ '^[0-9a-f]{32}$'),
    ha1_sha256 text CHECK (ha1_sha256 ~ '^[0-9a-f]{64}$'),
    enabled boolean NOT NULL DEFAULT true,
    suspended boolean NOT NULL DEFAULT false,
    can_dial boolean NOT NULL DEFAULT true,
    display_name text NOT NULL DEFAULT '',
    caller_number text NOT NULL DEFAULT '',
    max_contacts integer NOT NULL DEFAULT 0 CHECK (max_contacts >= 0),
    trusted_identity boolean NOT NULL DEFAULT false,
    fix_nat boolean NOT NULL DEFAULT false,
    contact jsonb NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX account_parent ON account (parent_id) WHERE parent_id IS NOT NULL;
COMMENT ON TABLE account IS 'Every party: people, phones, trunks, resellers, staff (original: tb_users)';
COMMENT ON COLUMN account.id IS 'What everything else points at (ID)';
COMMENT ON COLUMN account.parent_id IS 'Owner in the ownership tree; empty: none (ParentID)';
COMMENT ON COLUMN account.type IS 'What the party is, mizu.model.AccountType (Type)';
COMMENT ON COLUMN account.auth_type IS 'How it proves itself, mizu.model.AuthType (NeedAuth)';
COMMENT ON COLUMN account.username IS 'Name for authentication and address of record, case matters (Username)';
COMMENT ON COLUMN account.ha1_md5 IS 'MD5 of username:realm:password, lower-case hex (Password, never kept in clear)';
COMMENT ON COLUMN account.ha1_sha256 IS 'SHA-256 of username:realm:password, lower-case hex';
COMMENT ON COLUMN account.enabled IS 'false: behaves as if the row were deleted, with everything below it (Enabled)';
COMMENT ON COLUMN account.suspended IS 'true: stopped for a time, with everything below it (temporarydisabled)';
COMMENT ON COLUMN account.can_dial IS 'May place calls (CanDial)';
COMMENT ON COLUMN account.display_name IS 'Name shown to the called party (DisplayName)';
COMMENT ON COLUMN account.caller_number IS 'Number shown to the called party; empty: the username';
COMMENT ON COLUMN account.max_contacts IS 'Registered contacts at a time; 0: the setting of the registrar';
COMMENT ON COLUMN account.trusted_identity IS 'May say who calls (From, P-Asserted-Identity)';
COMMENT ON COLUMN account.fix_nat IS 'Rewrite private SDP addresses to where the phone sends from';
COMMENT ON COLUMN account.contact IS 'Name, address, e-mail, contract and other facts for people, JSON';
COMMENT ON COLUMN account.version IS 'Grows with every change of the row';
COMMENT ON COLUMN account.created_at IS 'When it was added (AddDate)';
COMMENT ON COLUMN account.changed_at IS 'When it was changed last';

-- The tree has no cycles and no more than 100 levels, also under concurrent moves: whoever changes a parent
-- holds one lock until the commit.
CREATE FUNCTION account_check_parent() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    above bigint := NEW.parent_id;
    levels integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 2);
    WHILE above IS NOT NULL LOOP
        levels := levels + 1;
        IF above = NEW.id OR levels > 100 THEN
            RAISE EXCEPTION 'account % cannot be below account %: cycle or more than 100 levels', NEW.id, NEW.parent_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'account_tree';
        END IF;
        SELECT parent_id INTO above FROM account WHERE id = above;
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER account_check_parent BEFORE INSERT OR UPDATE OF parent_id ON account
    FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL) EXECUTE FUNCTION account_check_parent();

CREATE FUNCTION account_ancestors_enabled(above bigint) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH RECURSIVE up (id, parent_id, good) AS (
        SELECT id, parent_id, enabled AND NOT suspended FROM account WHERE id = above
        UNION ALL
        SELECT a.id, a.parent_id, a.enabled AND NOT a.suspended FROM up JOIN account a ON a.id = up.parent_id
    ) SELECT coalesce(bool_and(good), true) FROM up
$$;
COMMENT ON FUNCTION account_ancestors_enabled(bigint) IS 'Is this account, with everything above it, enabled and not suspended?';

CREATE TABLE change (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    topic text NOT NULL,
    key text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX change_xid ON change (xid);
COMMENT ON TABLE change IS 'What changed lately, for nodes that missed a notification; old rows are deleted';
COMMENT ON COLUMN change.version IS 'Number of the change, in no order of commits';
COMMENT ON COLUMN change.xid IS 'Transaction that made it: a reader finds what its last snapshot did not show';
COMMENT ON COLUMN change.topic IS 'What kind of thing, e.g. account';
COMMENT ON COLUMN change.key IS 'Which one, e.g. the username; *: any number of them';
COMMENT ON COLUMN change.changed_at IS 'Start of the transaction that made it';

CREATE FUNCTION note_change(topics text, keys text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(keys) > 1000 THEN
        keys := ARRAY['*'];
    END IF;
    INSERT INTO change (topic, key) SELECT topics, k FROM unnest(keys) k;
    PERFORM pg_notify('mizu', topics || ':' || k) FROM unnest(keys) k;
END $$;
COMMENT ON FUNCTION note_change(text, text[]) IS 'Log a change and tell the other nodes when the transaction commits';

CREATE FUNCTION account_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    names text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(username) INTO names FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(username) INTO names FROM old_rows;
    ELSE
        -- what stops or starts an account does so for everything below it
        WITH RECURSIVE below (id) AS (
            SELECT n.id FROM new_rows n JOIN old_rows o USING (id)
            WHERE (n.enabled, n.suspended, n.parent_id) IS DISTINCT FROM (o.enabled, o.suspended, o.parent_id)
            UNION
            SELECT a.id FROM below JOIN account a ON a.parent_id = below.id
        )
        SELECT array_agg(username) INTO names FROM (
            SELECT username FROM new_rows UNION SELECT username FROM old_rows
            UNION (SELECT username FROM account JOIN below USING (id) LIMIT 1001)
        ) every;
    END IF;
    IF names IS NOT NULL THEN
        PERFORM note_change('account', names);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER account_inserted AFTER INSERT ON account
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION account_changed();
CREATE TRIGGER account_updated AFTER UPDATE ON account
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION account_changed();
CREATE TRIGGER account_deleted AFTER DELETE ON account
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION account_changed();

CREATE TABLE location (
    aor text COLLATE "C" PRIMARY KEY,
    node text NOT NULL,
    expires_at timestamptz NOT NULL,
    bindings jsonb NOT NULL
) WITH (fillfactor = 60);
COMMENT ON TABLE location IS 'Registered contacts; written behind the answer, read when a node starts';
COMMENT ON COLUMN location.aor IS 'Address of record: the username. No foreign key: a late write must not fail';
COMMENT ON COLUMN location.node IS 'Node that wrote it';
COMMENT ON COLUMN location.expires_at IS 'When the last of the contacts expires';
COMMENT ON COLUMN location.bindings IS 'The contacts, a list of objects: fields of mizu.model.Binding';

CREATE TABLE node (
    name text PRIMARY KEY,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    calls_since timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE node IS 'The processes that serve calls';
COMMENT ON COLUMN node.name IS 'Its identity, kept in its data directory';
COMMENT ON COLUMN node.started_at IS 'Start of the process';
COMMENT ON COLUMN node.seen_at IS 'Last sign of life: a call that it left open is taken as ended then';
COMMENT ON COLUMN node.calls_since IS 'No call of this node that began before is still open';

CREATE TABLE call (
    call_id uuid PRIMARY KEY,
    node text NOT NULL,
    caller_account_id bigint,
    callee_account_id bigint,
    caller_number text NOT NULL,
    called_number text NOT NULL,
    route text NOT NULL DEFAULT '',
    caller_sip_call_id text NOT NULL,
    callee_sip_call_id text NOT NULL DEFAULT '',
    caller_address text NOT NULL,
    callee_address text NOT NULL DEFAULT '',
    setup_at timestamptz NOT NULL,
    ring_at timestamptz,
    answer_at timestamptz,
    end_at timestamptz,
    setup_s double precision,
    talk_s double precision,
    sip_status smallint,
    sip_reason text NOT NULL DEFAULT '',
    ended_by text NOT NULL DEFAULT '',
    cause text NOT NULL DEFAULT '',
    dialogs jsonb
) WITH (fillfactor = 50);
CREATE INDEX call_setup ON call (setup_at, call_id);
COMMENT ON TABLE call IS 'One row a call: opened at INVITE, updated at the answer, closed at the end (original: tb_cdrs)';
COMMENT ON COLUMN call.call_id IS 'Our own number of the call';
COMMENT ON COLUMN call.node IS 'Process that carries it';
COMMENT ON COLUMN call.caller_account_id IS 'Who calls. No foreign key: the record outlives the account';
COMMENT ON COLUMN call.callee_account_id IS 'Account that answered or was rung last';
COMMENT ON COLUMN call.caller_number IS 'Number shown to the called party';
COMMENT ON COLUMN call.called_number IS 'User part of the Request-URI';
COMMENT ON COLUMN call.route IS 'Name of the route used: trunk or account';
COMMENT ON COLUMN call.caller_sip_call_id IS 'Call-ID of the caller leg';
COMMENT ON COLUMN call.callee_sip_call_id IS 'Call-ID of the callee leg';
COMMENT ON COLUMN call.caller_address IS 'proto:host:port the INVITE came from';
COMMENT ON COLUMN call.callee_address IS 'proto:host:port of the party that answered';
COMMENT ON COLUMN call.setup_at IS 'INVITE received';
COMMENT ON COLUMN call.ring_at IS 'First 18x sent to the caller';
COMMENT ON COLUMN call.answer_at IS 'Answered; empty: never';
COMMENT ON COLUMN call.end_at IS 'Ended; empty: still open';
COMMENT ON COLUMN call.setup_s IS 'INVITE to answer or end, seconds by the monotonic clock';
COMMENT ON COLUMN call.talk_s IS 'Answer to end, seconds by the monotonic clock';
COMMENT ON COLUMN call.sip_status IS 'Final status sent to the caller';
COMMENT ON COLUMN call.sip_reason IS 'Reason phrase of that status';
COMMENT ON COLUMN call.ended_by IS 'caller, callee, switch or operator';
COMMENT ON COLUMN call.cause IS 'Stable word: answered, busy, cancelled, no_answer, orphan, ...';
COMMENT ON COLUMN call.dialogs IS 'What rebuilds both dialogs while the call is answered, JSON; empty when ended';
