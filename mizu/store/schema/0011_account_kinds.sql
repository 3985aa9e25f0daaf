-- What an account is stays what groups and accounts at SIP servers take it for; ring groups hold ids.

CREATE FUNCTION account_group_kind(type smallint) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN type IN (7, 8, 9, 11, 12) THEN 2 WHEN type = 6 THEN 3 ELSE 1 END::smallint
$$;
COMMENT ON FUNCTION account_group_kind(smallint) IS 'Kind of the groups that accounts of a type are members of (mizu.accounts.groups)';

-- Members and accounts at SIP servers hold the account until the commit, so that its type stays what was seen.
CREATE FUNCTION account_group_member_fits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM account WHERE id = NEW.account_id FOR SHARE;
    IF EXISTS (SELECT FROM account a, account_group g WHERE a.id = NEW.account_id AND g.id = NEW.group_id
               AND g.kind <> account_group_kind(a.type)) THEN
        RAISE EXCEPTION 'account % is not of the kind of group %', NEW.account_id, NEW.group_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_group_kind';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION account_group_member_fits() IS 'A group has members of its kind only';
CREATE TRIGGER account_group_member_fits BEFORE INSERT OR UPDATE ON account_group_member
    FOR EACH ROW EXECUTE FUNCTION account_group_member_fits();

CREATE FUNCTION sip_account_fits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM account WHERE id = NEW.sip_server_id FOR SHARE;
    IF EXISTS (SELECT FROM account WHERE id = NEW.sip_server_id AND type <> 7) THEN
        RAISE EXCEPTION 'account % is no SIP server', NEW.sip_server_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sip_account_server';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION sip_account_fits() IS 'Accounts at SIP servers belong to accounts of that type';
CREATE TRIGGER sip_account_fits BEFORE INSERT OR UPDATE OF sip_server_id ON sip_account
    FOR EACH ROW EXECUTE FUNCTION sip_account_fits();

CREATE FUNCTION account_check_type() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM account_group_member m JOIN account_group g ON g.id = m.group_id
               WHERE m.account_id = NEW.id AND g.kind <> account_group_kind(NEW.type)) THEN
        RAISE EXCEPTION 'account % is in a group of another kind', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_type_group';
    END IF;
    IF NEW.type <> 7 AND EXISTS (SELECT FROM sip_account WHERE sip_server_id = NEW.id) THEN
        RAISE EXCEPTION 'account % is a SIP server that we have accounts at', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_type_server';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION account_check_type() IS 'No other type while groups or accounts at SIP servers need this one';
CREATE TRIGGER account_check_type BEFORE UPDATE OF type ON account
    FOR EACH ROW WHEN (NEW.type <> OLD.type) EXECUTE FUNCTION account_check_type();

DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT a.id, a.username, g.name FROM account_group_member m JOIN account a ON a.id = m.account_id
        JOIN account_group g ON g.id = m.group_id WHERE g.kind <> account_group_kind(a.type) ORDER BY a.id LIMIT 20 LOOP
        RAISE WARNING 'account #% (%) is in group %, which is of another kind', one.id, one.username, one.name;
    END LOOP;
    FOR one IN SELECT a.id, a.username, name FROM account a, unnest(string_to_array(a.ring_group, ',')) name
        WHERE a.ring_group <> '' AND NOT EXISTS (SELECT FROM account m WHERE m.username = name) ORDER BY a.id LIMIT 20 LOOP
        RAISE WARNING 'account #% (%) had % in its ring_group, which is no account: left out', one.id, one.username, quote_literal(one.name);
    END LOOP;
END $$;
UPDATE account a SET ring_group = coalesce((SELECT string_agg(m.id::text, ',' ORDER BY place)
    FROM unnest(string_to_array(a.ring_group, ',')) WITH ORDINALITY w (name, place) JOIN account m ON m.username = w.name), '')
    WHERE ring_group <> '';
COMMENT ON COLUMN account.ring_group IS 'Who else rings when it is called: comma list of ids, g before those of groups (RingGroup)';
COMMENT ON COLUMN account.allowed_partners IS 'Who it may exchange calls with: comma list of ids, g before those of groups, * all (AllowedPartners)';
COMMENT ON COLUMN account.partner_priority IS 'Preferred for calls from these: comma list of ids, g before those of groups (prioritypartner)';
