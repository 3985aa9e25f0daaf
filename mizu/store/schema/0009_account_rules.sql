-- What an account may be called.

-- The rule of mizu.accounts.usernames. A trigger and no CHECK: accounts made before go on under the names that
-- they have, and every change of such a row would fail a CHECK.
CREATE FUNCTION account_username_allowed(name text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT name COLLATE "C" ~ '^[A-Za-z0-9_+*][A-Za-z0-9_+*.#!~-]{0,63}$' AND name NOT IN ('+', '*')
$$;
COMMENT ON FUNCTION account_username_allowed(text) IS 'May a new account be called that?';

CREATE FUNCTION account_refuse_username() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no account may be called %', quote_literal(NEW.username)
        USING ERRCODE = 'check_violation', CONSTRAINT = 'account_username';
END $$;
CREATE TRIGGER account_new_username BEFORE INSERT ON account
    FOR EACH ROW WHEN (NOT account_username_allowed(NEW.username)) EXECUTE FUNCTION account_refuse_username();
CREATE TRIGGER account_other_username BEFORE UPDATE OF username ON account
    FOR EACH ROW WHEN (NEW.username <> OLD.username AND NOT account_username_allowed(NEW.username))
    EXECUTE FUNCTION account_refuse_username();

DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT id, username FROM account WHERE NOT account_username_allowed(username) ORDER BY id LIMIT 40 LOOP
        RAISE WARNING 'account #% is called %, which no new account may be: name it by its id in commands', one.id, quote_literal(one.username);
    END LOOP;
END $$;
