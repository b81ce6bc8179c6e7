-- A reservation by hand, for an order of one name, as lean as it can be for this one purpose, in one journey: nobody has the set in hand,
-- no lease is overdue, nothing is frozen, nobody waits, the ledger has lost nothing; every bucket has room for one more. Then the buckets
-- that the order may take from hold one more, and the permit, the set in hand and a line of the record are written, under a number
-- without gaps: so changes are made one after the other. Returns what is in the way; nothing: it is reserved.
-- Rows are looked up one by one (`LIMIT 1`): a join would be planned once, for tables that are still empty, and read them whole ever after.
CREATE TABLE ledger (id BIGINT PRIMARY KEY, sequence BIGINT NOT NULL, frozen TEXT, waiting TEXT);
INSERT INTO ledger VALUES (1, 0);
CREATE TABLE cells (name TEXT PRIMARY KEY, tat BIGINT, held BIGINT NOT NULL);
CREATE TABLE permits (
    permit TEXT PRIMARY KEY, sequence BIGINT NOT NULL, account TEXT NOT NULL, name TEXT NOT NULL, domain TEXT NOT NULL,
    set_key TEXT NOT NULL, holder TEXT NOT NULL, reserved_at BIGINT NOT NULL, lease_end BIGINT
);
CREATE INDEX leases ON permits (lease_end) WHERE lease_end IS NOT NULL;
CREATE TABLE hands (set_key TEXT PRIMARY KEY, permit TEXT NOT NULL, holder TEXT NOT NULL, account TEXT NOT NULL, until BIGINT NOT NULL);
CREATE TABLE record (
    sequence BIGINT PRIMARY KEY, at BIGINT NOT NULL, what TEXT NOT NULL, permit TEXT NOT NULL, holder TEXT NOT NULL, account TEXT NOT NULL,
    name TEXT NOT NULL, domain TEXT NOT NULL, set_key TEXT NOT NULL, lease_end BIGINT NOT NULL
);
CREATE FUNCTION reserve(
    seen BIGINT, account TEXT, name TEXT, domain TEXT, set_key TEXT, permit TEXT, holder TEXT, lease_end BIGINT,
    emissions BIGINT[], bursts BIGINT[]
) RETURNS TEXT LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    state ledger;
    now BIGINT;
    pair TEXT := account || ' ' || name;
    held TEXT[] := ARRAY['o ' || account, 'f ' || pair, 'd ' || domain, 's ' || set_key];
    blocked TEXT;
BEGIN
    SELECT * INTO state FROM ledger WHERE id = 1 FOR UPDATE;
    now := extract(epoch FROM clock_timestamp()) * 1000000;
    IF state.sequence IS NULL OR state.sequence < seen THEN RETURN 'lost'; END IF;
    IF state.frozen IS NOT NULL THEN RETURN 'frozen'; END IF;
    IF state.waiting IS NOT NULL THEN RETURN 'waiting'; END IF;
    PERFORM 1 FROM permits WHERE permits.lease_end <= now ORDER BY permits.lease_end LIMIT 1;
    IF FOUND THEN RETURN 'overdue'; END IF;
    SELECT hands.holder INTO blocked FROM hands WHERE hands.set_key = set_key;
    IF FOUND THEN RETURN blocked; END IF;
    SELECT string_agg(asked.name || ' ' || greatest(cell.tat, now) + asked.emission * (cell.held + 1 - asked.burst), ',') INTO blocked
        FROM unnest(held || ARRAY['p ' || pair, 'b ' || pair], emissions, bursts) AS asked (name, emission, burst),
        LATERAL (SELECT cells.tat, cells.held FROM cells WHERE cells.name = asked.name LIMIT 1) AS cell
        WHERE greatest(cell.tat, now) + asked.emission * (cell.held + 1 - asked.burst) > now;
    IF blocked IS NOT NULL THEN RETURN blocked; END IF;
    UPDATE ledger SET sequence = state.sequence + 1 WHERE id = 1;
    INSERT INTO cells (name, held) SELECT own.name, 1 FROM unnest(held) AS own (name)
        ON CONFLICT ON CONSTRAINT cells_pkey DO UPDATE SET held = cells.held + 1;
    INSERT INTO permits VALUES (permit, state.sequence + 1, account, name, domain, set_key, holder, now, lease_end);
    INSERT INTO hands VALUES (set_key, permit, holder, account, lease_end);
    INSERT INTO record VALUES (state.sequence + 1, now, 'reserve', permit, holder, account, name, domain, set_key, lease_end);
    RETURN NULL;
END $$;
