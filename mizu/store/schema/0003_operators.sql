-- Global options, tokens of operators, and the list of what operators changed.

CREATE SEQUENCE option_version;
COMMENT ON SEQUENCE option_version IS 'Versions of options: one that was removed and set again has another one';

CREATE TABLE option (
    name text PRIMARY KEY,
    value text NOT NULL,
    version bigint NOT NULL DEFAULT nextval('option_version'),
    changed_by text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE option IS 'Global options that somebody set; the others have their defaults (mizu.options)';
COMMENT ON COLUMN option.name IS 'Name as in mizu.options.OPTIONS';
COMMENT ON COLUMN option.value IS 'Value as text, as options get shows it';
COMMENT ON COLUMN option.version IS 'Grows with every change';
COMMENT ON COLUMN option.changed_by IS 'Operator who set it last';
COMMENT ON COLUMN option.changed_at IS 'When it was set last';

CREATE FUNCTION option_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_change('option', ARRAY[coalesce(NEW.name, OLD.name)]);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION option_changed() IS 'Tells every node that an option was changed';
CREATE TRIGGER option_changed AFTER INSERT OR UPDATE OR DELETE ON option
    FOR EACH ROW EXECUTE FUNCTION option_changed();

CREATE TABLE operator_token (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    scope_account_id bigint REFERENCES account (id) ON DELETE CASCADE,
    rights smallint NOT NULL CHECK (rights IN (0, 10, 20, 30, 40, 50, 60)),
    token_sha256 bytea NOT NULL UNIQUE CHECK (length(token_sha256) = 32),
    label text NOT NULL DEFAULT '' CHECK (length(label) <= 100),
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    used_at timestamptz,
    used_from text NOT NULL DEFAULT ''
);
CREATE INDEX operator_token_account ON operator_token (account_id);
CREATE INDEX operator_token_scope ON operator_token (scope_account_id) WHERE scope_account_id IS NOT NULL;
COMMENT ON TABLE operator_token IS 'Bearer tokens with which operators use the console and the API';
COMMENT ON COLUMN operator_token.id IS 'Number of the token, no secret';
COMMENT ON COLUMN operator_token.account_id IS 'Whose token it is: support, admin, reseller, owner, ...';
COMMENT ON COLUMN operator_token.scope_account_id IS 'It reaches this account and what is below it; empty: everything';
COMMENT ON COLUMN operator_token.rights IS 'What it allows, mizu.model.Rights (Rights)';
COMMENT ON COLUMN operator_token.token_sha256 IS 'SHA-256 of the token, which is 256 random bits; the token is kept nowhere';
COMMENT ON COLUMN operator_token.label IS 'What it is for, in the words of who made it';
COMMENT ON COLUMN operator_token.created_by IS 'Operator who made it';
COMMENT ON COLUMN operator_token.created_at IS 'When it was made';
COMMENT ON COLUMN operator_token.expires_at IS 'It is refused from then on; empty: never';
COMMENT ON COLUMN operator_token.revoked_at IS 'When it was taken back; empty: it was not';
COMMENT ON COLUMN operator_token.used_at IS 'When it was used last, to about a minute';
COMMENT ON COLUMN operator_token.used_from IS 'Address that it was used from last';

CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    node text NOT NULL DEFAULT '',
    who text NOT NULL,
    token_id bigint,
    scope_account_id bigint,
    source text NOT NULL DEFAULT '',
    command text NOT NULL,
    line text NOT NULL,
    outcome text NOT NULL,
    objects text[] NOT NULL DEFAULT '{}',
    changes jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX audit_begun ON audit (begun_at);
CREATE INDEX audit_who ON audit (who, id);
CREATE INDEX audit_scope ON audit (scope_account_id, id) WHERE scope_account_id IS NOT NULL;
CREATE INDEX audit_objects ON audit USING gin (objects);
COMMENT ON TABLE audit IS 'Every change by an operator: written before it is made, completed after';
COMMENT ON COLUMN audit.id IS 'Number of the entry, in the order of writing';
COMMENT ON COLUMN audit.begun_at IS 'When the change began';
COMMENT ON COLUMN audit.ended_at IS 'When the outcome was written; empty: never';
COMMENT ON COLUMN audit.node IS 'Node that carried it out';
COMMENT ON COLUMN audit.who IS 'Operator';
COMMENT ON COLUMN audit.token_id IS 'Token that was used; empty: the one of the data directory. No foreign key: entries outlive tokens';
COMMENT ON COLUMN audit.scope_account_id IS 'Account that the operator was limited to; empty: none. No foreign key: entries outlive accounts';
COMMENT ON COLUMN audit.source IS 'Address the operator came from';
COMMENT ON COLUMN audit.command IS 'Name of the command';
COMMENT ON COLUMN audit.line IS 'The whole command, secrets as ***';
COMMENT ON COLUMN audit.outcome IS 'begun: the end is unknown; ok; else the error code';
COMMENT ON COLUMN audit.objects IS 'What was changed, topic:key each';
COMMENT ON COLUMN audit.changes IS 'topic, key, before and after of each thing, without secrets; a list of objects';
