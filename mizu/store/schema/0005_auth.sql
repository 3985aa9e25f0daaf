-- What authorization by address, port and tech prefix compares.

ALTER TABLE account
    ADD COLUMN auth_ip text NOT NULL DEFAULT '' CHECK (length(auth_ip) <= 10000),
    ADD COLUMN tech_prefix text COLLATE "C" NOT NULL DEFAULT '' CHECK (tech_prefix ~ '^[0-9*#]{0,20}$'),
    ADD COLUMN call_signal_port integer NOT NULL DEFAULT 0 CHECK (call_signal_port BETWEEN 0 AND 65535);
COMMENT ON COLUMN account.auth_ip IS 'Addresses, domain names and ranges it sends from, with commas between (AuthIp)';
COMMENT ON COLUMN account.tech_prefix IS 'First digits of the numbers it calls, for auth types 2 and 3 (TechPrefix)';
COMMENT ON COLUMN account.call_signal_port IS 'Port it sends from, for auth type 6; 0: none (callsigaddr)';
CREATE INDEX account_open ON account (username) WHERE auth_type <> 4;

CREATE TABLE account_address (
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    address text NOT NULL CHECK (length(address) BETWEEN 1 AND 300),
    port integer NOT NULL DEFAULT 0 CHECK (port BETWEEN 0 AND 65535),
    note text NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, address, port)
);
COMMENT ON TABLE account_address IS 'Further addresses that an account sends from (tb_users_authip)';
COMMENT ON COLUMN account_address.account_id IS 'Whose address it is';
COMMENT ON COLUMN account_address.address IS 'Address, domain name, network, range a-b, or with * at its end';
COMMENT ON COLUMN account_address.port IS 'Port it sends from, for auth type 6; 0: that of the account';
COMMENT ON COLUMN account_address.note IS 'For people';

CREATE FUNCTION account_address_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    names text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT a.username) INTO names FROM new_rows JOIN account a ON a.id = account_id;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT a.username) INTO names FROM old_rows JOIN account a ON a.id = account_id;
    ELSE
        SELECT array_agg(DISTINCT a.username) INTO names
            FROM (SELECT account_id FROM new_rows UNION SELECT account_id FROM old_rows) every
            JOIN account a ON a.id = every.account_id;
    END IF;
    IF names IS NOT NULL THEN
        PERFORM note_change('account', names);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER account_address_inserted AFTER INSERT ON account_address
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION account_address_changed();
CREATE TRIGGER account_address_updated AFTER UPDATE ON account_address
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION account_address_changed();
CREATE TRIGGER account_address_deleted AFTER DELETE ON account_address
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION account_address_changed();
