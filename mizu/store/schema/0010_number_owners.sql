-- One owner for each phone number: what an account has as phone_number and what the table of numbers says agree.

-- Numbers are digits, with or without a plus sign they are the same one.
UPDATE account a SET phone_number = ltrim(phone_number, '+') WHERE phone_number LIKE '+%'
    AND NOT EXISTS (SELECT FROM account o WHERE o.phone_number = ltrim(a.phone_number, '+'));
UPDATE phone_number n SET account_id = a.id, allocated_at = now(), version = n.version + 1
    FROM account a WHERE a.phone_number = n.number AND n.account_id IS NULL;
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT a.id, a.username, n.number, n.account_id FROM account a
        JOIN phone_number n ON n.number = ltrim(a.phone_number, '+') AND n.account_id <> a.id
        ORDER BY a.id LIMIT 40 LOOP
        RAISE WARNING 'account #% (%) has the phone_number %, which is allocated to account #%: one of them must lose it', one.id, one.username, one.number, one.account_id;
    END LOOP;
END $$;

CREATE FUNCTION account_bare_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.phone_number := ltrim(NEW.phone_number, '+');
    RETURN NEW;
END $$;
COMMENT ON FUNCTION account_bare_number() IS 'Phone numbers of accounts are kept without a plus sign, as in the table of numbers';
CREATE TRIGGER account_bare_number BEFORE INSERT OR UPDATE OF phone_number ON account
    FOR EACH ROW WHEN (NEW.phone_number LIKE '+%') EXECUTE FUNCTION account_bare_number();

-- Who enters numbers and who sets the phone_number of an account must know of each other: those who set share a
-- lock until the commit, those who enter have it alone.
CREATE FUNCTION account_take_number() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(x'6d697a75'::int, 3);
    SELECT account_id INTO owner FROM phone_number WHERE number = NEW.phone_number FOR UPDATE;
    IF FOUND AND owner IS NULL THEN
        UPDATE phone_number SET account_id = NEW.id, allocated_at = now(), version = version + 1
            WHERE number = NEW.phone_number;
    ELSIF owner <> NEW.id THEN
        RAISE EXCEPTION 'number % is allocated to another account than %', NEW.phone_number, NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_phone_number';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_take_number() IS 'A number of the table becomes the account''s, or is that of another one';
CREATE TRIGGER account_takes_number AFTER INSERT ON account
    FOR EACH ROW WHEN (NEW.phone_number <> '') EXECUTE FUNCTION account_take_number();
CREATE TRIGGER account_takes_other_number AFTER UPDATE OF phone_number ON account
    FOR EACH ROW WHEN (NEW.phone_number <> '' AND NEW.phone_number <> OLD.phone_number)
    EXECUTE FUNCTION account_take_number();

CREATE FUNCTION phone_number_entered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 3);
    SELECT id INTO owner FROM account WHERE phone_number = NEW.number;
    IF FOUND AND NEW.account_id IS NULL THEN
        NEW.account_id := owner;
        NEW.allocated_at := now();
    ELSIF owner <> NEW.account_id THEN
        RAISE EXCEPTION 'number % is the phone_number of another account than %', NEW.number, NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_phone_number';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION phone_number_entered() IS 'A number that an account has as phone_number is its own from the beginning';
CREATE TRIGGER phone_number_entered BEFORE INSERT ON phone_number
    FOR EACH ROW EXECUTE FUNCTION phone_number_entered();

CREATE FUNCTION phone_number_given() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM account WHERE id = OLD.account_id AND phone_number = NEW.number) THEN
        RAISE EXCEPTION 'number % is the phone_number of account %', NEW.number, OLD.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'phone_number_in_use';
    END IF;
    IF EXISTS (SELECT FROM account WHERE phone_number = NEW.number AND id <> NEW.account_id) THEN
        RAISE EXCEPTION 'number % is the phone_number of another account than %', NEW.number, NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_phone_number';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION phone_number_given() IS 'No number is taken from, or given past, the account that has it as phone_number';
CREATE TRIGGER phone_number_given BEFORE UPDATE OF account_id ON phone_number
    FOR EACH ROW WHEN (NEW.account_id IS DISTINCT FROM OLD.account_id) EXECUTE FUNCTION phone_number_given();
