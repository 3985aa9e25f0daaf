-- The whole account record, groups, phone numbers, accounts at SIP servers, and the depth of the ownership tree.

ALTER TABLE account
    ADD COLUMN is_template boolean NOT NULL DEFAULT false,
    ADD COLUMN rights smallint NOT NULL DEFAULT 0 CHECK (rights IN (0, 10, 20, 30, 40, 50, 60)),
    ADD COLUMN created_by text NOT NULL DEFAULT '',
    ADD COLUMN register_interval_s integer NOT NULL DEFAULT 0 CHECK (register_interval_s BETWEEN 0 AND 86400),
    ADD COLUMN pin_sealed text NOT NULL DEFAULT '',
    ADD COLUMN use_calling_card boolean NOT NULL DEFAULT false,
    ADD COLUMN caller_lookup boolean NOT NULL DEFAULT false,
    ADD COLUMN phone_number text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN short_number text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN company_id bigint REFERENCES account (id) ON DELETE RESTRICT,
    ADD COLUMN is_company boolean NOT NULL DEFAULT false,
    ADD COLUMN calling_circle integer NOT NULL DEFAULT 0 CHECK (calling_circle >= 0),
    ADD COLUMN ring_group text NOT NULL DEFAULT '',
    ADD COLUMN ring_mode smallint NOT NULL DEFAULT 0 CHECK (ring_mode IN (0, 1)),
    ADD COLUMN country text NOT NULL DEFAULT '',
    ADD COLUMN max_channels integer NOT NULL DEFAULT 0 CHECK (max_channels >= 0),
    ADD COLUMN allowed_partners text NOT NULL DEFAULT '*',
    ADD COLUMN enabled_prefixes text NOT NULL DEFAULT '*',
    ADD COLUMN enabled_tech_prefixes text NOT NULL DEFAULT '',
    ADD COLUMN blocked_prefixes text NOT NULL DEFAULT '',
    ADD COLUMN filtering smallint NOT NULL DEFAULT 0 CHECK (filtering BETWEEN 0 AND 6),
    ADD COLUMN forward_always text NOT NULL DEFAULT '',
    ADD COLUMN forward_busy text NOT NULL DEFAULT '',
    ADD COLUMN forward_no_answer text NOT NULL DEFAULT '',
    ADD COLUMN do_not_disturb boolean NOT NULL DEFAULT false,
    ADD COLUMN voicemail boolean NOT NULL DEFAULT false,
    ADD COLUMN recording boolean NOT NULL DEFAULT false,
    ADD COLUMN ivr_id integer NOT NULL DEFAULT 0 CHECK (ivr_id >= 0),
    ADD COLUMN callback_mode smallint NOT NULL DEFAULT 0,
    ADD COLUMN operator_kind smallint NOT NULL DEFAULT 0,
    ADD COLUMN domain_name text NOT NULL DEFAULT '',
    ADD COLUMN port integer CHECK (port BETWEEN 1 AND 65535),
    ADD COLUMN second_host text NOT NULL DEFAULT '',
    ADD COLUMN second_port integer CHECK (second_port BETWEEN 1 AND 65535),
    ADD COLUMN rtp_when_caller smallint NOT NULL DEFAULT 0 CHECK (rtp_when_caller BETWEEN 0 AND 7),
    ADD COLUMN rtp_when_called smallint NOT NULL DEFAULT 2 CHECK (rtp_when_called BETWEEN 0 AND 7),
    ADD COLUMN priority integer NOT NULL DEFAULT 0,
    ADD COLUMN absolute_priority integer NOT NULL DEFAULT 0,
    ADD COLUMN called_priority text NOT NULL DEFAULT '',
    ADD COLUMN caller_priority text NOT NULL DEFAULT '',
    ADD COLUMN partner_priority text NOT NULL DEFAULT '',
    ADD COLUMN only_test_calls boolean NOT NULL DEFAULT false,
    ADD COLUMN test_prefix text NOT NULL DEFAULT '',
    ADD COLUMN billing_account_id bigint REFERENCES account (id) ON DELETE RESTRICT,
    ADD COLUMN payer_only boolean NOT NULL DEFAULT false,
    ADD COLUMN postpaid boolean NOT NULL DEFAULT false,
    ADD COLUMN credit_micro bigint NOT NULL DEFAULT 0,
    ADD COLUMN credit_expires_at timestamptz,
    ADD COLUMN currency text NOT NULL DEFAULT '' CHECK (currency ~ '^([A-Z]{3})?$'),
    ADD COLUMN packet_id integer CHECK (packet_id > 0),
    ADD COLUMN discount_percent numeric(5, 2) NOT NULL DEFAULT 0 CHECK (discount_percent BETWEEN 0 AND 100),
    ADD COLUMN commission_percent numeric(5, 2) NOT NULL DEFAULT 0 CHECK (commission_percent BETWEEN 0 AND 100),
    ADD COLUMN reduction_percent numeric(5, 2) NOT NULL DEFAULT 0 CHECK (reduction_percent BETWEEN 0 AND 100),
    ADD COLUMN late_fee_micro bigint NOT NULL DEFAULT 0,
    ADD COLUMN billing_day smallint NOT NULL DEFAULT 1 CHECK (billing_day BETWEEN 1 AND 28),
    ADD COLUMN payment_mode smallint NOT NULL DEFAULT 1 CHECK (payment_mode BETWEEN 0 AND 3),
    ADD COLUMN stage smallint NOT NULL DEFAULT 0 CHECK (stage IN (0, 9)),
    ADD CONSTRAINT account_short_number_company CHECK (short_number = '' OR company_id IS NOT NULL);
CREATE UNIQUE INDEX account_phone_number ON account (phone_number) WHERE phone_number <> '';
CREATE UNIQUE INDEX account_short_number ON account (company_id, short_number) WHERE short_number <> '';
CREATE INDEX account_company ON account (company_id) WHERE company_id IS NOT NULL;
CREATE INDEX account_billing ON account (billing_account_id) WHERE billing_account_id IS NOT NULL;
COMMENT ON COLUMN account.is_template IS 'Only there to be cloned; never logs in';
COMMENT ON COLUMN account.rights IS 'What this party may do as an operator, mizu.model.Rights (Rights)';
COMMENT ON COLUMN account.created_by IS 'Operator who made it (AddedBy)';
COMMENT ON COLUMN account.register_interval_s IS 'How often we register at this SIP server, seconds; 0: the global setting (regival)';
COMMENT ON COLUMN account.pin_sealed IS 'PIN for calling cards, encrypted with a key outside the database; empty: none (pin)';
COMMENT ON COLUMN account.use_calling_card IS 'May use PIN codes (UseCallingCard)';
COMMENT ON COLUMN account.caller_lookup IS 'Traffic sender: an account with the caller''s number takes over the call (enableanumberlookup)';
COMMENT ON COLUMN account.phone_number IS 'Its phone number, of this account alone; empty: none (TelNumber)';
COMMENT ON COLUMN account.short_number IS 'Extension inside its company; empty: none (ShortTelnumber)';
COMMENT ON COLUMN account.company_id IS 'Company whose short numbers it uses (BelongsToCompany)';
COMMENT ON COLUMN account.is_company IS 'A company with several subscribers (IsCompany)';
COMMENT ON COLUMN account.calling_circle IS 'Accounts call each other only inside the same circle (UserGroup)';
COMMENT ON COLUMN account.ring_group IS 'Usernames that ring too when it is called, comma list (RingGroup)';
COMMENT ON COLUMN account.ring_mode IS '0 all at once, 1 round robin (RGMode)';
COMMENT ON COLUMN account.country IS 'Country of its numbers (Country)';
COMMENT ON COLUMN account.max_channels IS 'Calls at a time with everything below it; 0: no limit of its own (maximum channels)';
COMMENT ON COLUMN account.allowed_partners IS 'Accounts that it may exchange calls with, comma list of ids, * all (AllowedPartners)';
COMMENT ON COLUMN account.enabled_prefixes IS 'Called prefixes that are allowed, comma list, * all (Enabledprefixes)';
COMMENT ON COLUMN account.enabled_tech_prefixes IS 'Gateway: tech prefixes that are allowed, empty all (EnabledTechPrefixes)';
COMMENT ON COLUMN account.blocked_prefixes IS 'Called prefixes that are blocked, comma list (BlockPrefixes)';
COMMENT ON COLUMN account.filtering IS 'Strictness of black and white lists, 0 none (filtering)';
COMMENT ON COLUMN account.forward_always IS 'Calls go to this number; empty: no';
COMMENT ON COLUMN account.forward_busy IS 'Calls go to this number when it is busy; empty: no';
COMMENT ON COLUMN account.forward_no_answer IS 'Calls go to this number when nobody answers; empty: no';
COMMENT ON COLUMN account.do_not_disturb IS 'Nobody gets through';
COMMENT ON COLUMN account.voicemail IS 'Has a mailbox';
COMMENT ON COLUMN account.recording IS 'Its calls are recorded';
COMMENT ON COLUMN account.ivr_id IS 'A call to it starts this IVR; 0: none (ivrid)';
COMMENT ON COLUMN account.callback_mode IS 'Callback behaviour of an access number (iscallback)';
COMMENT ON COLUMN account.operator_kind IS '6: a PIN user (isoperator)';
COMMENT ON COLUMN account.domain_name IS 'Domain or address of a SIP server (DomainName)';
COMMENT ON COLUMN account.port IS 'Signalling port of a SIP server; empty: by DNS (Port)';
COMMENT ON COLUMN account.second_host IS 'Second signalling address (TransIp)';
COMMENT ON COLUMN account.second_port IS 'Port of the second signalling address (TransPort)';
COMMENT ON COLUMN account.rtp_when_caller IS 'How media go when it calls, 0 to 7 (RouteRtpCaller)';
COMMENT ON COLUMN account.rtp_when_called IS 'How media go when it is called, 0 to 7 (RouteRtpCalled)';
COMMENT ON COLUMN account.priority IS 'Order among routes, higher first (priority)';
COMMENT ON COLUMN account.absolute_priority IS 'Order before everything else, higher first (absolutepriority)';
COMMENT ON COLUMN account.called_priority IS 'Preferred for calls to these prefixes, comma list (calledpriority)';
COMMENT ON COLUMN account.caller_priority IS 'Preferred for calls from these prefixes, comma list (callerpriority)';
COMMENT ON COLUMN account.partner_priority IS 'Preferred for calls from these accounts, comma list of ids (prioritypartner)';
COMMENT ON COLUMN account.only_test_calls IS 'Takes test calls only (onlytestcalls)';
COMMENT ON COLUMN account.test_prefix IS 'Takes only calls with this prefix; empty: all (testprefix)';
COMMENT ON COLUMN account.billing_account_id IS 'Whose credit is used; empty: its own (BillingUserID)';
COMMENT ON COLUMN account.payer_only IS 'Only pays, uses no service (IsBilledUser)';
COMMENT ON COLUMN account.postpaid IS 'Pays afterwards (Postpaid)';
COMMENT ON COLUMN account.credit_micro IS 'Prepaid: what it has; postpaid: what it may spend in a month; millionths (Credit)';
COMMENT ON COLUMN account.credit_expires_at IS 'When prepaid credit ends; empty: never (Creditelapsedt)';
COMMENT ON COLUMN account.currency IS 'Currency of its invoices, ISO 4217; empty: the native one (currency)';
COMMENT ON COLUMN account.packet_id IS 'Price packet; empty: none (PacketID)';
COMMENT ON COLUMN account.discount_percent IS 'Taken off its prices before charging, percent (discount)';
COMMENT ON COLUMN account.commission_percent IS 'A salesperson''s part of the prices, percent (Commission)';
COMMENT ON COLUMN account.reduction_percent IS 'Discount a salesperson may give, percent (Reduction)';
COMMENT ON COLUMN account.late_fee_micro IS 'Charged for late payment, millionths (LateFee)';
COMMENT ON COLUMN account.billing_day IS 'Day of the month that invoices are made (BillingDay)';
COMMENT ON COLUMN account.payment_mode IS '0 check, 1 bank transfer, 2 cash, 3 other (PaymentMode)';
COMMENT ON COLUMN account.stage IS '9: a reseller who pays when credit is handed out (stage)';

-- ------------------------------------------------------------------ the ownership tree

CREATE FUNCTION account_levels_max() RETURNS integer LANGUAGE plpgsql STABLE AS $$
DECLARE
    levels integer;
BEGIN
    IF to_regclass('option') IS NOT NULL THEN
        EXECUTE 'SELECT value::integer FROM option WHERE name = ''maxresellers''' INTO levels;
    END IF;
    RETURN least(coalesce(levels, 10), 100);
END $$;
COMMENT ON FUNCTION account_levels_max() IS 'Owners that an account may have above it: option maxresellers, at most 100';

CREATE FUNCTION account_within(account_id bigint, root bigint) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH RECURSIVE up (id, parent_id, level) AS (
        SELECT id, parent_id, 0 FROM account WHERE id = account_id
        UNION ALL
        SELECT a.id, a.parent_id, up.level + 1 FROM up JOIN account a ON a.id = up.parent_id
        WHERE up.id <> root AND up.level < 101
    ) SELECT EXISTS (SELECT FROM up WHERE id = root)
$$;
COMMENT ON FUNCTION account_within(bigint, bigint) IS 'Is the account the root itself or below it?';

CREATE FUNCTION account_subtree(root bigint) RETURNS TABLE (id bigint, level integer) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE below (id, level) AS (
        SELECT a.id, 0 FROM account a WHERE a.id = root
        UNION ALL
        SELECT a.id, below.level + 1 FROM below JOIN account a ON a.parent_id = below.id
        WHERE below.level < 101
    ) SELECT id, level FROM below
$$;
COMMENT ON FUNCTION account_subtree(bigint) IS 'The account and everything below it, with the levels between';

-- Whoever changes a parent holds one lock until the commit, and looks at what is committed then. A transaction
-- that looks at an older snapshot cannot know the tree, so it is refused.
CREATE OR REPLACE FUNCTION account_check_parent() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    above bigint := NEW.parent_id;
    levels integer := 0;
    levels_below integer := 0;
    levels_max integer;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'owners of accounts are changed at isolation level read committed only'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_isolation';
    END IF;
    PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 2);
    WHILE above IS NOT NULL LOOP
        levels := levels + 1;
        IF above = NEW.id OR levels > 101 THEN
            RAISE EXCEPTION 'account % cannot be below account %: cycle', NEW.id, NEW.parent_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'account_tree';
        END IF;
        SELECT parent_id INTO above FROM account WHERE id = above;
    END LOOP;
    levels_max := account_levels_max();
    IF TG_OP = 'UPDATE' AND levels <= levels_max THEN
        SELECT coalesce(max(level), 0) INTO levels_below FROM account_subtree(NEW.id);
    END IF;
    IF levels + levels_below > levels_max THEN
        RAISE EXCEPTION 'account % cannot be below account %: more than % levels', NEW.id, NEW.parent_id, levels_max
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_depth';
    END IF;
    RETURN NEW;
END $$;

-- ------------------------------------------------------------------ groups

CREATE TABLE account_group (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 4),
    name text COLLATE "C" NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    owner_id bigint REFERENCES account (id) ON DELETE RESTRICT,
    note text NOT NULL DEFAULT '',
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (id, kind)
);
CREATE INDEX account_group_owner ON account_group (owner_id) WHERE owner_id IS NOT NULL;
COMMENT ON TABLE account_group IS 'Groups that stand wherever one member may stand';
COMMENT ON COLUMN account_group.id IS 'Number of the group';
COMMENT ON COLUMN account_group.kind IS '1 users, 2 gateways, 3 traffic senders, 4 SIM packets';
COMMENT ON COLUMN account_group.name IS 'What people call it';
COMMENT ON COLUMN account_group.owner_id IS 'Account whose operators manage it; empty: staff only';
COMMENT ON COLUMN account_group.note IS 'What it is for';
COMMENT ON COLUMN account_group.version IS 'Grows with every change of the group and its members';
COMMENT ON COLUMN account_group.created_at IS 'When it was made';

CREATE TABLE account_group_member (
    group_id bigint NOT NULL REFERENCES account_group (id) ON DELETE CASCADE,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, account_id)
);
CREATE INDEX account_group_member_account ON account_group_member (account_id);
COMMENT ON TABLE account_group_member IS 'Which accounts are in which groups';
COMMENT ON COLUMN account_group_member.group_id IS 'The group, of kind 1, 2 or 3';
COMMENT ON COLUMN account_group_member.account_id IS 'The member';

CREATE TABLE sim_packet_group_member (
    group_id bigint NOT NULL,
    kind smallint NOT NULL DEFAULT 4 CHECK (kind = 4),
    sim_packet_id bigint NOT NULL,
    PRIMARY KEY (group_id, sim_packet_id),
    FOREIGN KEY (group_id, kind) REFERENCES account_group (id, kind) ON DELETE CASCADE
);
COMMENT ON TABLE sim_packet_group_member IS 'Which SIM packets are in which groups';
COMMENT ON COLUMN sim_packet_group_member.group_id IS 'The group, of kind 4';
COMMENT ON COLUMN sim_packet_group_member.kind IS 'Always 4: makes the database refuse groups of accounts';
COMMENT ON COLUMN sim_packet_group_member.sim_packet_id IS 'The member';

CREATE FUNCTION account_group_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_change('group', ARRAY[coalesce(NEW.name, OLD.name)]);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_group_changed() IS 'Tells every node that a group was changed';
CREATE TRIGGER account_group_changed AFTER INSERT OR UPDATE OR DELETE ON account_group
    FOR EACH ROW EXECUTE FUNCTION account_group_changed();

-- A node that keeps an answer about an account drops it when the account joins or leaves a group.
CREATE FUNCTION account_group_member_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    names text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(a.username) INTO names FROM new_rows JOIN account a ON a.id = new_rows.account_id;
    ELSE
        SELECT array_agg(a.username) INTO names FROM old_rows JOIN account a ON a.id = old_rows.account_id;
    END IF;
    IF names IS NOT NULL THEN
        PERFORM note_change('account', names);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION account_group_member_changed() IS 'Tells every node which accounts joined or left a group';
CREATE TRIGGER account_group_joined AFTER INSERT ON account_group_member
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION account_group_member_changed();
CREATE TRIGGER account_group_left AFTER DELETE ON account_group_member
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION account_group_member_changed();

-- ------------------------------------------------------------------ phone numbers

CREATE TABLE phone_number (
    number text COLLATE "C" PRIMARY KEY CHECK (number ~ '^[0-9]{1,20}$'),
    holder_id bigint REFERENCES account (id) ON DELETE SET NULL,
    account_id bigint REFERENCES account (id) ON DELETE SET NULL,
    allocated_at timestamptz,
    note text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX phone_number_free ON phone_number (number) WHERE account_id IS NULL;
CREATE INDEX phone_number_account ON phone_number (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX phone_number_holder ON phone_number (holder_id) WHERE holder_id IS NOT NULL;
COMMENT ON TABLE phone_number IS 'Numbers given to us by authorities and carriers (DID)';
COMMENT ON COLUMN phone_number.number IS 'The number, digits with country code';
COMMENT ON COLUMN phone_number.holder_id IS 'Account whose operators may give it out; empty: staff only';
COMMENT ON COLUMN phone_number.account_id IS 'Account that has it; empty: free (location, free)';
COMMENT ON COLUMN phone_number.allocated_at IS 'When the account got it';
COMMENT ON COLUMN phone_number.note IS 'Where it comes from';
COMMENT ON COLUMN phone_number.created_at IS 'When it was entered';

CREATE FUNCTION phone_number_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    numbers text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(number) INTO numbers FROM new_rows;
    ELSE
        SELECT array_agg(number) INTO numbers FROM old_rows;
    END IF;
    IF numbers IS NOT NULL THEN
        PERFORM note_change('number', numbers);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION phone_number_changed() IS 'Tells every node which numbers were changed';
CREATE TRIGGER phone_number_inserted AFTER INSERT ON phone_number
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION phone_number_changed();
CREATE TRIGGER phone_number_updated AFTER UPDATE ON phone_number
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION phone_number_changed();
CREATE TRIGGER phone_number_deleted AFTER DELETE ON phone_number
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION phone_number_changed();

-- ------------------------------------------------------------------ accounts that we have at SIP servers

CREATE TABLE sip_account (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sip_server_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    priority integer NOT NULL DEFAULT 0,
    username text COLLATE "C" NOT NULL CHECK (length(username) BETWEEN 1 AND 255),
    password_sealed text NOT NULL,
    caller_number text NOT NULL DEFAULT '',
    credit_micro bigint,
    enabled boolean NOT NULL DEFAULT true,
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (sip_server_id, username)
);
COMMENT ON TABLE sip_account IS 'Accounts that we have at SIP servers, used in turn';
COMMENT ON COLUMN sip_account.id IS 'Number of the account (Id)';
COMMENT ON COLUMN sip_account.sip_server_id IS 'The SIP server that it belongs to (ProxyID)';
COMMENT ON COLUMN sip_account.priority IS 'Higher is used first, equal ones in turn (Priority)';
COMMENT ON COLUMN sip_account.username IS 'Name to log in with (Username)';
COMMENT ON COLUMN sip_account.password_sealed IS 'Password, encrypted with a key outside the database (Password)';
COMMENT ON COLUMN sip_account.caller_number IS 'Number we show; empty: the caller''s own (CallerNumber)';
COMMENT ON COLUMN sip_account.credit_micro IS 'Balance, millionths; 0: not used; empty: not counted (Credit)';
COMMENT ON COLUMN sip_account.enabled IS 'false: not used (Enabled)';
COMMENT ON COLUMN sip_account.failures IS 'Failed calls in a row; at the threshold it is not used (SubsFails)';
COMMENT ON COLUMN sip_account.last_used_at IS 'When a call went through it last (LastUsed)';
COMMENT ON COLUMN sip_account.created_at IS 'When it was entered (DateEntered)';
COMMENT ON COLUMN sip_account.version IS 'Grows with every change by an operator';

CREATE FUNCTION sip_account_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_change('sip_account', ARRAY[coalesce(NEW.sip_server_id, OLD.sip_server_id)::text]);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION sip_account_changed() IS 'Tells every node that an account at a SIP server was changed';
CREATE TRIGGER sip_account_changed AFTER INSERT OR DELETE OR UPDATE OF priority, username, password_sealed,
    caller_number, credit_micro, enabled, failures ON sip_account
    FOR EACH ROW EXECUTE FUNCTION sip_account_changed();
