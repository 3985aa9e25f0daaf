-- Who is kept out, and who never is.

CREATE TABLE ban (
    target text COLLATE "C" PRIMARY KEY CHECK (length(target) BETWEEN 2 AND 100),
    reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 200),
    banned_by text NOT NULL,
    begun_at timestamptz NOT NULL,
    until_at timestamptz,
    times integer NOT NULL DEFAULT 1 CHECK (times >= 1)
);
CREATE INDEX ban_until ON ban (until_at);
COMMENT ON TABLE ban IS 'Senders whose messages are dropped; kept for a time after the end, for repetitions';
COMMENT ON COLUMN ban.target IS 'Address, network, range a-b, or address:port, in its shortest spelling';
COMMENT ON COLUMN ban.reason IS 'Why, for people';
COMMENT ON COLUMN ban.banned_by IS 'guard, or the operator who did it';
COMMENT ON COLUMN ban.begun_at IS 'When it began';
COMMENT ON COLUMN ban.until_at IS 'When it ends or ended; empty: never';
COMMENT ON COLUMN ban.times IS 'Which ban of this target in a row it is; each lasts twice as long';

CREATE TABLE whitelist (
    target text COLLATE "C" PRIMARY KEY CHECK (length(target) BETWEEN 2 AND 100),
    note text NOT NULL DEFAULT '' CHECK (length(note) <= 200),
    added_by text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE whitelist IS 'Senders who are never banned';
COMMENT ON COLUMN whitelist.target IS 'Address, network or range a-b, in its shortest spelling';
COMMENT ON COLUMN whitelist.note IS 'Why, for people';
COMMENT ON COLUMN whitelist.added_by IS 'Operator who did it';
COMMENT ON COLUMN whitelist.added_at IS 'When';

CREATE FUNCTION guard_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    names text[];
BEGIN
    IF TG_OP = 'DELETE' THEN
        SELECT array_agg(target) INTO names FROM old_rows;
    ELSE
        SELECT array_agg(target) INTO names FROM new_rows;
    END IF;
    IF names IS NOT NULL THEN
        PERFORM note_change(TG_TABLE_NAME, names);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION guard_changed() IS 'Tells every node that a ban or an entry of the white list was changed';
CREATE TRIGGER ban_inserted AFTER INSERT ON ban
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION guard_changed();
CREATE TRIGGER ban_updated AFTER UPDATE ON ban
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION guard_changed();
CREATE TRIGGER ban_deleted AFTER DELETE ON ban
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION guard_changed();
CREATE TRIGGER whitelist_inserted AFTER INSERT ON whitelist
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION guard_changed();
CREATE TRIGGER whitelist_updated AFTER UPDATE ON whitelist
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION guard_changed();
CREATE TRIGGER whitelist_deleted AFTER DELETE ON whitelist
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION guard_changed();
