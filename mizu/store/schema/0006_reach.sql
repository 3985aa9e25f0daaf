-- What operators see who are limited to some accounts: calls and entries of the audit list. Versions of numbers.

CREATE INDEX call_caller ON call (caller_account_id, setup_at, call_id) WHERE caller_account_id IS NOT NULL;
CREATE INDEX call_callee ON call (callee_account_id, setup_at, call_id) WHERE callee_account_id IS NOT NULL;

CREATE FUNCTION account_owners(account_id bigint) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    WITH RECURSIVE up (id) AS (
        SELECT account_id
        UNION
        SELECT a.parent_id FROM up JOIN account a ON a.id = up.id WHERE a.parent_id IS NOT NULL
    ) SELECT id FROM up
$$;
COMMENT ON FUNCTION account_owners(bigint) IS 'The account, which need not exist any more, and everything above it';

CREATE TABLE audit_reach (
    account_id bigint NOT NULL,
    audit_id bigint NOT NULL REFERENCES audit (id) ON DELETE CASCADE,
    whole boolean NOT NULL,
    places integer[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (account_id, audit_id)
);
CREATE INDEX audit_reach_entry ON audit_reach (audit_id);
COMMENT ON TABLE audit_reach IS 'Who sees an entry of the audit list besides staff: the owners, at that time, of the accounts it is about';
COMMENT ON COLUMN audit_reach.account_id IS 'Operators limited to this account see the entry. No foreign key: entries outlive accounts';
COMMENT ON COLUMN audit_reach.audit_id IS 'The entry';
COMMENT ON COLUMN audit_reach.whole IS 'true: all of it, as the operator who made it was in their reach';
COMMENT ON COLUMN audit_reach.places IS 'Otherwise: which of its changes they see, by place in audit.changes, from 0';

-- Entries from before were seen by who owned the operator's account; so they stay.
INSERT INTO audit_reach (account_id, audit_id, whole)
SELECT o, a.id, true FROM audit a, account_owners(a.scope_account_id) o WHERE a.scope_account_id IS NOT NULL;
DROP INDEX audit_scope;

COMMENT ON TABLE audit IS 'Every change by an operator; a change of the database and its entry are one transaction';
COMMENT ON COLUMN audit.outcome IS 'ok; begun: the end is unknown; else the error code of what was not done';
COMMENT ON COLUMN audit.objects IS 'What was changed, topic:key each, in the order of changes';

ALTER TABLE phone_number ADD COLUMN version bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN phone_number.version IS 'Grows with every change of the row';
