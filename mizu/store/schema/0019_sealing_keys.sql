-- Secrets are sealed with keys that all nodes have: the first secret says with which, rotate-keys with which next.

CREATE TABLE sealing_key (
    id text PRIMARY KEY,
    added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sealing_key IS 'Keys that secrets may be sealed with; empty: there has been no secret yet';
COMMENT ON COLUMN sealing_key.id IS 'What stands before the colon of a sealed secret; the key itself is in secret.key of the nodes';
COMMENT ON COLUMN sealing_key.added_at IS 'Since when';

INSERT INTO sealing_key (id)
    SELECT split_part(pin_sealed, ':', 1) FROM account WHERE pin_sealed <> ''
    UNION SELECT split_part(password_sealed, ':', 1) FROM sip_account WHERE password_sealed <> '';

-- Whoever drops a key waits for those who seal with it (mizu.store.key_rotation).
CREATE FUNCTION check_sealing_key(sealed text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key text := split_part(sealed, ':', 1);
BEGIN
    PERFORM FROM sealing_key WHERE id = key FOR KEY SHARE;
    IF FOUND THEN
        RETURN;
    END IF;
    LOCK TABLE sealing_key IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM sealing_key) THEN
        INSERT INTO sealing_key (id) VALUES (key);
    ELSIF NOT EXISTS (SELECT FROM sealing_key WHERE id = key) THEN
        RAISE EXCEPTION 'a secret is sealed with key %, which the other nodes need not have', key
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sealing_key_known';
    END IF;
END $$;
COMMENT ON FUNCTION check_sealing_key(text) IS 'Refuses secrets sealed with a key of one node alone';

CREATE FUNCTION account_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM check_sealing_key(NEW.pin_sealed);
    RETURN NEW;
END $$;
CREATE TRIGGER account_new_pin BEFORE INSERT ON account
    FOR EACH ROW WHEN (NEW.pin_sealed <> '') EXECUTE FUNCTION account_sealed();
CREATE TRIGGER account_other_pin BEFORE UPDATE OF pin_sealed ON account
    FOR EACH ROW WHEN (NEW.pin_sealed <> '' AND NEW.pin_sealed <> OLD.pin_sealed) EXECUTE FUNCTION account_sealed();

CREATE FUNCTION sip_account_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM check_sealing_key(NEW.password_sealed);
    RETURN NEW;
END $$;
CREATE TRIGGER sip_account_new_password BEFORE INSERT ON sip_account
    FOR EACH ROW WHEN (NEW.password_sealed <> '') EXECUTE FUNCTION sip_account_sealed();
CREATE TRIGGER sip_account_other_password BEFORE UPDATE OF password_sealed ON sip_account
    FOR EACH ROW WHEN (NEW.password_sealed <> '' AND NEW.password_sealed <> OLD.password_sealed)
    EXECUTE FUNCTION sip_account_sealed();
