-- Versions are never given twice: what is deleted and made anew under its name has another one than all before.

CREATE SEQUENCE record_version;
COMMENT ON SEQUENCE record_version IS 'Versions of accounts, groups and numbers';
SELECT setval('record_version', greatest(
    (SELECT max(version) FROM account),
    (SELECT max(version) FROM account_group),
    (SELECT max(version) FROM phone_number),
    0
) + 1, false);

ALTER TABLE account ALTER COLUMN version SET DEFAULT nextval('record_version');
ALTER TABLE account_group ALTER COLUMN version SET DEFAULT nextval('record_version');
ALTER TABLE phone_number ALTER COLUMN version SET DEFAULT nextval('record_version');

CREATE FUNCTION record_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := nextval('record_version');
    RETURN NEW;
END $$;
COMMENT ON FUNCTION record_changed() IS 'Whoever writes another version asks for a new one';
CREATE TRIGGER account_version BEFORE UPDATE OF version ON account
    FOR EACH ROW WHEN (NEW.version <> OLD.version) EXECUTE FUNCTION record_changed();
CREATE TRIGGER account_group_version BEFORE UPDATE OF version ON account_group
    FOR EACH ROW WHEN (NEW.version <> OLD.version) EXECUTE FUNCTION record_changed();
CREATE TRIGGER phone_number_version BEFORE UPDATE OF version ON phone_number
    FOR EACH ROW WHEN (NEW.version <> OLD.version) EXECUTE FUNCTION record_changed();
