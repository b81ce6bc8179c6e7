-- A decision by hand, in one journey: the buckets have room for one more beside what they hold, or false; then the first of them hold one
-- more, and documents and a line of the record are written. Changes have numbers without gaps, so they are made one after the other.
CREATE TABLE marker (id BIGINT PRIMARY KEY, sequence BIGINT NOT NULL);
INSERT INTO marker VALUES (1, 0);
CREATE TABLE cells (name TEXT PRIMARY KEY, tat BIGINT, held BIGINT NOT NULL);
CREATE TABLE documents (name TEXT PRIMARY KEY, version BIGINT NOT NULL, body TEXT NOT NULL, lease BIGINT);
CREATE INDEX leases ON documents (lease) WHERE lease IS NOT NULL;
CREATE TABLE record (sequence BIGINT PRIMARY KEY, at BIGINT NOT NULL, body TEXT NOT NULL);
CREATE FUNCTION reserve(
    names TEXT[], emissions BIGINT[], bursts BIGINT[], holds BIGINT, written TEXT[], bodies TEXT[], lease_end BIGINT, said TEXT
) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    change BIGINT;
    now BIGINT;
BEGIN
    UPDATE marker SET sequence = sequence + 1 WHERE id = 1 RETURNING sequence INTO change;
    now := extract(epoch FROM clock_timestamp()) * 1000000;
    PERFORM 1 FROM unnest(names, emissions, bursts) AS asked (name, emission, burst) JOIN cells ON cells.name = asked.name
        WHERE greatest(cells.tat, now) + asked.emission * (cells.held + 1 - asked.burst) > now;
    IF FOUND THEN RETURN false; END IF;
    INSERT INTO cells (name, held) SELECT name, 1 FROM unnest(names[1:holds]) AS own (name)
        ON CONFLICT (name) DO UPDATE SET held = cells.held + 1;
    INSERT INTO documents SELECT own.name, change, own.body, CASE WHEN own.place = 1 THEN lease_end END
        FROM unnest(written, bodies) WITH ORDINALITY AS own (name, body, place);
    INSERT INTO record VALUES (change, now, said);
    RETURN true;
END $$;
