-- Sub-endusers are phones or cabins of somebody who pays: they have an owner, and that is no gateway. (What is there
-- already stays until its type or owner is changed.)

CREATE FUNCTION account_check_sub_enduser() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_owner smallint;
BEGIN
    -- Not FOR SHARE: who moves the owner has its row and waits for this lock.
    PERFORM pg_advisory_xact_lock_shared(x'6d697a75'::int, 2);
    SELECT type INTO of_owner FROM account WHERE id = NEW.parent_id;
    IF of_owner IS NULL OR of_owner IN (6, 7, 8, 9, 11, 12) THEN
        RAISE EXCEPTION 'account % is a sub_enduser, and account % cannot be its owner', NEW.id, NEW.parent_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_sub_enduser';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION account_check_sub_enduser() IS 'Sub-endusers have an owner who is no carrier';
CREATE TRIGGER account_new_sub_enduser BEFORE INSERT ON account
    FOR EACH ROW WHEN (NEW.type = 1) EXECUTE FUNCTION account_check_sub_enduser();
CREATE TRIGGER account_other_sub_enduser BEFORE UPDATE OF type, parent_id ON account
    FOR EACH ROW WHEN (NEW.type = 1 AND (NEW.type <> OLD.type OR NEW.parent_id IS DISTINCT FROM OLD.parent_id))
    EXECUTE FUNCTION account_check_sub_enduser();

CREATE FUNCTION account_check_owner_type() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 2);
    IF EXISTS (SELECT FROM account WHERE parent_id = NEW.id AND type = 1) THEN
        RAISE EXCEPTION 'account % owns sub-endusers', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_type_owner';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION account_check_owner_type() IS 'No owner of sub-endusers becomes a carrier';
CREATE TRIGGER account_owner_type BEFORE UPDATE OF type ON account
    FOR EACH ROW WHEN (NEW.type <> OLD.type AND NEW.type IN (6, 7, 8, 9, 11, 12))
    EXECUTE FUNCTION account_check_owner_type();
