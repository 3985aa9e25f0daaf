-- What is below an account is found step by step by index, whatever part of the table that is and whenever the plan
-- was made; and it is expected to be little, so that statements keep it in a hash table.

ALTER FUNCTION account_subtree(bigint) ROWS 1000 SET enable_seqscan = off;
ALTER FUNCTION account_subtree(bigint) SET enable_hashjoin = off;
ALTER FUNCTION account_subtree(bigint) SET enable_mergejoin = off;
ALTER FUNCTION account_subtree_ever(bigint) ROWS 1000 SET enable_seqscan = off;
ALTER FUNCTION account_subtree_ever(bigint) SET enable_hashjoin = off;
ALTER FUNCTION account_subtree_ever(bigint) SET enable_mergejoin = off;

CREATE FUNCTION account_children(owner_id bigint) RETURNS bigint LANGUAGE sql STABLE
    SET enable_seqscan = off AS 'SELECT count(*) FROM account WHERE parent_id = owner_id';
COMMENT ON FUNCTION account_children(bigint) IS 'How many accounts are directly below an account';
