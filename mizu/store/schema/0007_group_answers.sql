-- What is kept about members of a group is dropped by every change of their membership and of the group.

CREATE FUNCTION account_group_member_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    names text[];
BEGIN
    SELECT array_agg(DISTINCT a.username) INTO names
        FROM (SELECT account_id FROM new_rows UNION SELECT account_id FROM old_rows) every
        JOIN account a ON a.id = every.account_id;
    IF names IS NOT NULL THEN
        PERFORM note_change('account', names);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_group_member_moved() IS 'Tells every node which accounts changed from one group to another';
CREATE TRIGGER account_group_moved AFTER UPDATE ON account_group_member
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION account_group_member_moved();

-- Whatever a group is: by all of its columns, those of later versions too, but for what only people read.
CREATE FUNCTION account_group_altered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    names text[];
    for_people text[] := '{id,note,version,created_at}';
BEGIN
    SELECT array_agg(username) INTO names FROM (
        SELECT DISTINCT a.username FROM new_rows n JOIN old_rows o USING (id)
        JOIN account_group_member m ON m.group_id = n.id JOIN account a ON a.id = m.account_id
        WHERE to_jsonb(n) - for_people IS DISTINCT FROM to_jsonb(o) - for_people LIMIT 1001
    ) members;
    IF names IS NOT NULL THEN
        PERFORM note_change('account', names);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_group_altered() IS 'Tells every node which accounts are in a group that is another now';
CREATE TRIGGER account_group_altered AFTER UPDATE ON account_group
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION account_group_altered();
