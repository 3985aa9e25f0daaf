-- Who makes accounts waits for who moves some, but no longer for others who make some: an import of all or none
-- takes long. Nobody can be below a new account, or be paid for by it, before others see it.

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
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_advisory_xact_lock_shared(x'6d697a75'::int, 2);
    ELSE
        PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 2);
    END IF;
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

-- Step by step, as owners are: the plan of one query over all steps reads the whole table when it was made for a
-- small one. A walk that long is in a circle that was there before.
CREATE OR REPLACE FUNCTION account_check_payer() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    payer bigint := NEW.billing_account_id;
    steps integer := 0;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'who pays for accounts is changed at isolation level read committed only'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_isolation';
    END IF;
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_advisory_xact_lock_shared(x'6d697a75'::int, 2);
    ELSE
        PERFORM pg_advisory_xact_lock(x'6d697a75'::int, 2);
    END IF;
    WHILE payer IS NOT NULL AND steps < 1000 LOOP
        IF payer = NEW.id THEN
            RAISE EXCEPTION 'account % cannot pay for account %: circle', NEW.billing_account_id, NEW.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'account_payers';
        END IF;
        SELECT billing_account_id INTO payer FROM account WHERE id = payer;
        steps := steps + 1;
    END LOOP;
    RETURN NEW;
END $$;
