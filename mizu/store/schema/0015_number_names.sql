-- Numbers have one owner, be they usernames, phone_number of accounts, or numbers of the table: see
-- 0010_number_owners.sql. What of a number is free is told by its version too.

CREATE FUNCTION number_of_name(username text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN username ~ '^[+]?[0-9*#]{1,32}$' THEN regexp_replace(username, '^[+]', '') END
$$;
COMMENT ON FUNCTION number_of_name(text) IS 'The phone number that a username is, without a plus sign; null: it is none';

-- Free numbers that are the username of an account of those who may give them out have rung it all the time.
UPDATE phone_number n SET account_id = a.id, allocated_at = now(), version = n.version + 1
    FROM account a WHERE a.username = n.number AND n.account_id IS NULL
    AND CASE WHEN n.holder_id IS NULL THEN a.parent_id IS NULL ELSE account_within(a.id, n.holder_id) END
    AND NOT EXISTS (SELECT FROM account o WHERE o.id <> a.id AND o.username = '+' || n.number)
    AND NOT EXISTS (SELECT FROM account o WHERE o.id <> a.id AND o.phone_number = n.number AND o.phone_number <> '');
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT a.id, a.username, o.id AS other FROM account a
        JOIN account o ON o.phone_number = number_of_name(a.username) AND o.phone_number <> '' AND o.id <> a.id
        ORDER BY a.id LIMIT 40 LOOP
        RAISE WARNING 'account #% has the username %, which is the phone_number of account #%: its calls go to the former', one.id, one.username, one.other;
    END LOOP;
    FOR one IN SELECT a.id, a.username, n.account_id AS other FROM account a
        JOIN phone_number n ON n.number = number_of_name(a.username) AND n.account_id IS DISTINCT FROM a.id
        ORDER BY a.id LIMIT 40 LOOP
        RAISE WARNING 'account #% has the username %, a number that %: its calls go to the former', one.id, one.username,
            coalesce('is allocated to account #' || one.other, 'is free in the table of numbers');
    END LOOP;
END $$;

CREATE UNLOGGED TABLE number_claim (number text COLLATE "C" PRIMARY KEY);
COMMENT ON TABLE number_claim IS 'Always empty: who gives a number to an account keeps others from it by this key until the commit';
COMMENT ON COLUMN number_claim.number IS 'The number';

CREATE FUNCTION claim_numbers(numbers text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO number_claim SELECT DISTINCT n FROM unnest(numbers) n ORDER BY n;
    DELETE FROM number_claim WHERE number = ANY (numbers);
END $$;
COMMENT ON FUNCTION claim_numbers(text[]) IS 'Wait for whoever else gives one of these numbers to an account; what is committed then is to be seen';

-- Usernames never change. For all rows of a statement at once, because imports make many. The indexes are right
-- whatever the size of the tables was when the plan was made.
CREATE FUNCTION account_names_number() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    numbers text[];
    mine record;
BEGIN
    SELECT array_agg(number_of_name(username)) INTO numbers FROM new_rows WHERE number_of_name(username) IS NOT NULL;
    IF numbers IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(x'6d697a75'::int, 3);
    PERFORM claim_numbers(numbers);
    PERFORM FROM phone_number WHERE number = ANY (numbers) ORDER BY number FOR UPDATE;
    IF FOUND THEN
        FOR mine IN SELECT n.id, number_of_name(n.username) AS number FROM new_rows n
                WHERE number_of_name(n.username) IS NOT NULL LOOP
            UPDATE phone_number SET account_id = mine.id, allocated_at = now(), version = version + 1
                WHERE number = mine.number AND account_id IS NULL;
        END LOOP;
    END IF;
    -- Each by itself (LIMIT): a join could be planned to read all accounts for each new one.
    IF EXISTS (SELECT FROM (SELECT id, number_of_name(username) AS number FROM new_rows) n, LATERAL (
            (SELECT FROM phone_number p WHERE p.number = n.number AND p.account_id <> n.id LIMIT 1)
            UNION ALL
            (SELECT FROM account a WHERE a.phone_number = n.number AND a.phone_number <> '' AND a.id <> n.id LIMIT 1)
            UNION ALL
            (SELECT FROM account a WHERE a.username = n.number AND a.id <> n.id LIMIT 1)
            UNION ALL
            (SELECT FROM account a WHERE a.username = '+' || n.number AND a.id <> n.id LIMIT 1)
        ) taken WHERE n.number IS NOT NULL) THEN
        RAISE EXCEPTION 'a username is the number of another account'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_name_number';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_names_number() IS 'A number of the table becomes that of the account called so, or is that of another one';
CREATE TRIGGER account_names_number AFTER INSERT ON account
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION account_names_number();

CREATE OR REPLACE FUNCTION account_take_number() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(x'6d697a75'::int, 3);
    PERFORM claim_numbers(ARRAY[NEW.phone_number]);
    IF EXISTS (SELECT FROM account WHERE username IN (NEW.phone_number, '+' || NEW.phone_number) AND id <> NEW.id) THEN
        RAISE EXCEPTION 'number % is the username of another account than %', NEW.phone_number, NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_number_name';
    END IF;
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

CREATE OR REPLACE FUNCTION phone_number_entered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owners bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 3);
    SELECT array_agg(id) INTO owners FROM account WHERE phone_number = NEW.number AND phone_number <> '';
    IF owners IS NULL THEN
        SELECT array_agg(id) INTO owners FROM account WHERE username IN (NEW.number, '+' || NEW.number);
    END IF;
    IF cardinality(owners) > 1 THEN
        RAISE EXCEPTION 'number % is the username of two accounts, with and without a plus sign', NEW.number
            USING ERRCODE = 'check_violation', CONSTRAINT = 'phone_number_names';
    ELSIF owners IS NOT NULL AND NEW.account_id IS NULL THEN
        NEW.account_id := owners[1];
        NEW.allocated_at := now();
    ELSIF owners[1] <> NEW.account_id THEN
        RAISE EXCEPTION 'number % is that of another account than %', NEW.number, NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_phone_number';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION phone_number_entered() IS 'A number that is the phone_number or the username of an account is its own from the beginning';

CREATE OR REPLACE FUNCTION phone_number_given() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM account WHERE id = OLD.account_id AND phone_number = NEW.number) THEN
        RAISE EXCEPTION 'number % is the phone_number of account %', NEW.number, OLD.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'phone_number_in_use';
    END IF;
    IF EXISTS (SELECT FROM account WHERE id = OLD.account_id AND username IN (NEW.number, '+' || NEW.number)) THEN
        RAISE EXCEPTION 'number % is the username of account %', NEW.number, OLD.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'phone_number_name';
    END IF;
    IF EXISTS (SELECT FROM account
        WHERE phone_number = NEW.number AND phone_number <> '' AND id <> NEW.account_id) THEN
        RAISE EXCEPTION 'number % is the phone_number of another account than %', NEW.number, NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_phone_number';
    END IF;
    IF EXISTS (SELECT FROM account WHERE username IN (NEW.number, '+' || NEW.number) AND id <> NEW.account_id) THEN
        RAISE EXCEPTION 'number % is the username of another account than %', NEW.number, NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_number_name';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION phone_number_given() IS 'No number is taken from, or given past, the account that has it as phone_number or username';

-- Also what happens by itself, when the account that has a number, or gives it out, is deleted.
UPDATE phone_number SET allocated_at = NULL WHERE account_id IS NULL AND allocated_at IS NOT NULL;
CREATE FUNCTION phone_number_other_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.account_id IS NULL THEN
        NEW.allocated_at := NULL;
    END IF;
    IF NEW.version = OLD.version THEN
        NEW.version := nextval('record_version');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION phone_number_other_account() IS 'A free number was allocated at no time, and has another version than before';
CREATE TRIGGER phone_number_other_account BEFORE UPDATE OF account_id, holder_id ON phone_number
    FOR EACH ROW WHEN (NEW.account_id IS DISTINCT FROM OLD.account_id OR NEW.holder_id IS DISTINCT FROM OLD.holder_id)
    EXECUTE FUNCTION phone_number_other_account();
