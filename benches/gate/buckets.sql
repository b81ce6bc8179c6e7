-- Four buckets by hand, in one journey: each has room for one more beside what it holds, or false; then each holds one more.
-- Rows are looked up one by one (`LIMIT 1`): a join would be planned once, for tables that are still empty, and read them whole ever after.
CREATE TABLE cells (name TEXT PRIMARY KEY, tat BIGINT, held BIGINT NOT NULL);
CREATE FUNCTION take(names TEXT[], emissions BIGINT[], bursts BIGINT[]) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    now BIGINT := extract(epoch FROM clock_timestamp()) * 1000000;
BEGIN
    INSERT INTO cells (name, held) SELECT name, 1 FROM unnest(names) AS own (name)
        ON CONFLICT (name) DO UPDATE SET held = cells.held + 1;
    PERFORM 1 FROM unnest(names, emissions, bursts) AS asked (name, emission, burst),
        LATERAL (SELECT tat, held FROM cells WHERE cells.name = asked.name LIMIT 1) AS cell
        WHERE greatest(cell.tat, now) + asked.emission * (cell.held - asked.burst) > now;
    IF FOUND THEN RAISE EXCEPTION 'a bucket is empty'; END IF;
    RETURN true;
END $$;
