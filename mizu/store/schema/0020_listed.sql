-- Whose lists of partners and ring groups name an account or a group is found at once (mizu.store.ties).

CREATE INDEX account_listed ON account USING gin
    (string_to_array(allowed_partners || ',' || partner_priority || ',' || ring_group, ','))
    WHERE allowed_partners NOT IN ('', '*') OR partner_priority <> '' OR ring_group <> '';
