-- The tree is read in pages, each by as many steps as it has accounts, however large the tree is.

CREATE INDEX account_children ON account (parent_id, username);
DROP INDEX account_parent;

-- (Sorted by parent_id too where that is empty: so the index gives the order.)
CREATE FUNCTION account_tree(root bigint, levels integer, after text[], most integer)
    RETURNS TABLE (path text[], id bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    above bigint[] := '{}';
    beyond text COLLATE "C" := '';
    step text;
    next_id bigint;
    next_name text;
    given integer := 0;
BEGIN
    path := '{}';
    FOREACH step IN ARRAY after LOOP
        IF cardinality(above) > 0 THEN
            SELECT a.id INTO next_id FROM account a WHERE a.parent_id = above[cardinality(above)] AND a.username = step;
        ELSE
            SELECT a.id INTO next_id FROM account a WHERE a.username = step
                AND CASE WHEN root IS NULL THEN a.parent_id IS NULL ELSE a.id = root END;
        END IF;
        IF next_id IS NULL THEN
            beyond := step;
            EXIT;
        END IF;
        above := above || next_id;
        path := path || step;
    END LOOP;
    WHILE given < most LOOP
        next_id := NULL;
        IF cardinality(above) > levels THEN
            NULL;
        ELSIF cardinality(above) > 0 THEN
            SELECT a.id, a.username INTO next_id, next_name FROM account a
                WHERE a.parent_id = above[cardinality(above)] AND a.username > beyond ORDER BY a.parent_id, a.username LIMIT 1;
        ELSIF root IS NOT NULL THEN
            SELECT a.id, a.username INTO next_id, next_name FROM account a WHERE a.id = root AND a.username > beyond;
        ELSE
            SELECT a.id, a.username INTO next_id, next_name FROM account a
                WHERE a.parent_id IS NULL AND a.username > beyond ORDER BY a.parent_id, a.username LIMIT 1;
        END IF;
        IF next_id IS NOT NULL THEN
            above := above || next_id;
            path := path || next_name;
            beyond := '';
            id := next_id;
            given := given + 1;
            RETURN NEXT;
        ELSIF cardinality(above) = 0 THEN
            RETURN;
        ELSE
            beyond := path[cardinality(path)];
            path := trim_array(path, 1);
            above := trim_array(above, 1);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION account_tree(bigint, integer, text[], integer) IS 'So many accounts of the tree, each after its owner and by username: usernames on the way to each, and its id; after that way';
