//! What is said to the database. All rows of a ledger lie in one schema, which has its name.

/// The tables, as statements that may be said again; `writable_from` and the rest mean what they do in SQLite.
const TABLES: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS $.ledger (
        id BIGINT PRIMARY KEY CHECK (id = 1),
        schema BIGINT NOT NULL,
        writable_from BIGINT NOT NULL,
        epoch BIGINT NOT NULL,
        sequence BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS $.cells (
        realm TEXT NOT NULL, name TEXT NOT NULL,
        tat BIGINT, held BIGINT NOT NULL, asked BIGINT NOT NULL,
        PRIMARY KEY (realm, name)
    )",
    "CREATE TABLE IF NOT EXISTS $.documents (
        realm TEXT NOT NULL, name TEXT NOT NULL,
        version BIGINT NOT NULL, body TEXT NOT NULL, lease BIGINT,
        PRIMARY KEY (realm, name)
    )",
    "CREATE INDEX IF NOT EXISTS leases ON $.documents (realm, lease) WHERE lease IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS $.record (
        sequence BIGINT PRIMARY KEY, at BIGINT NOT NULL, realm TEXT NOT NULL, body TEXT NOT NULL
    )",
];

/// The marker, unless there is one, or rows that had one.
const MARKER: &str = "
    INSERT INTO $.ledger (id, schema, writable_from, epoch, sequence)
    SELECT 1, {schema}, {schema}, 1, 0
    WHERE NOT EXISTS (SELECT 1 FROM $.cells)
        AND NOT EXISTS (SELECT 1 FROM $.documents)
        AND NOT EXISTS (SELECT 1 FROM $.record)
    ON CONFLICT (id) DO NOTHING";

/// Nobody else decides from here on until the transaction ends.
const LOCK: &str = "SELECT 1 FROM $.ledger WHERE id = 1 FOR UPDATE";

/// All rows that steps name, in one statement and so as of one instant, which is when it begins: after the row of [`LOCK`] is held.
/// 1 and 2: cells. 3 and 4: documents. 5: realms whose overdue leases are asked for, 6: how many of each. 7 to 9: the timescale.
///
/// Each row is looked up by itself (`LATERAL`, `LIMIT 1`): a join would be planned for as many rows as there are when a session begins, and
/// in a ledger that was new then go through all of them for ever after.
const READ: &str = "
    WITH clock AS (SELECT CAST(round(extract(epoch FROM clock_timestamp()) * 1000000) AS BIGINT) AS micros)
    SELECT 0::INT8 AS kind, NULL::TEXT AS realm, NULL::TEXT AS name, l.epoch AS a, l.sequence AS b, clock.micros AS c,
        l.schema AS d, l.writable_from AS e, NULL::TEXT AS body
    FROM $.ledger AS l, clock WHERE l.id = 1
    UNION ALL
    SELECT 1::INT8, c.realm, c.name, c.tat, c.held, c.asked, NULL::INT8, NULL::INT8, NULL::TEXT
    FROM unnest($1::TEXT[], $2::TEXT[]) AS named (realm, name), LATERAL (
        SELECT * FROM $.cells AS c WHERE c.realm = named.realm AND c.name = named.name LIMIT 1
    ) AS c
    UNION ALL
    SELECT 2::INT8, d.realm, d.name, d.version, d.lease, NULL::INT8, NULL::INT8, NULL::INT8, d.body
    FROM unnest($3::TEXT[], $4::TEXT[]) AS named (realm, name), LATERAL (
        SELECT * FROM $.documents AS d WHERE d.realm = named.realm AND d.name = named.name LIMIT 1
    ) AS d
    UNION ALL
    SELECT 3::INT8, due.realm, due.name, due.lease, NULL::INT8, NULL::INT8, NULL::INT8, NULL::INT8, NULL::TEXT
    FROM clock, unnest($5::TEXT[]) AS settled (realm), LATERAL (
        SELECT d.realm, d.name, d.lease FROM $.documents AS d
        WHERE d.realm = settled.realm AND d.lease <= $8::INT8 + (clock.micros - $7::INT8) * $9::INT8
        ORDER BY d.lease LIMIT $6::INT8
    ) AS due";

/// All that has changed, in one statement. Every part returns something, since not every database takes one that doesn't.
const SAVE: &str = "
    WITH saved_cells AS (
        INSERT INTO $.cells (realm, name, tat, held, asked)
        SELECT * FROM unnest($1::TEXT[], $2::TEXT[], $3::INT8[], $4::INT8[], $5::INT8[])
        ON CONFLICT (realm, name) DO UPDATE SET tat = excluded.tat, held = excluded.held, asked = excluded.asked
        RETURNING 1
    ), saved_documents AS (
        INSERT INTO $.documents (realm, name, version, body, lease)
        SELECT * FROM unnest($6::TEXT[], $7::TEXT[], $8::INT8[], $9::TEXT[], $10::INT8[])
        ON CONFLICT (realm, name)
        DO UPDATE SET version = excluded.version, body = excluded.body, lease = excluded.lease
        RETURNING 1
    ), saved_record AS (
        INSERT INTO $.record (sequence, at, realm, body)
        SELECT * FROM unnest($11::INT8[], $12::INT8[], $13::TEXT[], $14::TEXT[])
        RETURNING 1
    )
    UPDATE $.ledger SET epoch = $15, sequence = $16 WHERE id = 1";

/// Documents that are taken away: by themselves, since not every database changes one table twice in one statement.
const REMOVE: &str = "
    DELETE FROM $.documents WHERE (realm, name) IN (SELECT * FROM unnest($1::TEXT[], $2::TEXT[]))";

/// A part of the cells that hold nothing and are full; the condition is asked again of rows that somebody holds in the meantime.
const SWEEP_CELLS: &str = "
    DELETE FROM $.cells WHERE realm = $1 AND held = 0 AND (tat IS NULL OR tat < $2) AND name IN (
        SELECT name FROM $.cells WHERE realm = $1 AND held = 0 AND (tat IS NULL OR tat < $2) LIMIT 10000
    )";

const SWEEP_RECORD: &str = "
    DELETE FROM $.record WHERE sequence IN (SELECT sequence FROM $.record WHERE sequence < $1 ORDER BY sequence LIMIT 10000)";

/// What can't be: rows that are ahead of the marker, and numbers that are none.
const CHECK: &str = "
    SELECT 'the record' FROM $.record, $.ledger AS l WHERE record.sequence > l.sequence
    UNION ALL SELECT 'document ' || name FROM $.documents, $.ledger AS l WHERE documents.version > l.sequence
    UNION ALL SELECT 'cell ' || name FROM $.cells
        WHERE held < 0 OR held > 4294967295 OR asked < 0 OR asked > 4294967295
    LIMIT 1";

/// The statements for one ledger.
pub(super) struct Sql {
    schema: String,
}

impl Sql {
    /// For the ledger of that name, which is made of a-z, 0-9 and _.
    pub(super) fn new(name: &str) -> Self {
        Self { schema: format!("\"{name}\"") }
    }

    /// `$.` stands for the schema.
    fn of(&self, text: &str) -> String {
        text.replace("$.", &format!("{}.", self.schema))
    }

    pub(super) fn tables(&self) -> Vec<String> {
        TABLES.iter().map(|text| self.of(text)).collect()
    }

    /// How many schemas of that name there are; 0 or 1.
    pub(super) fn has_schema(&self) -> String {
        format!("SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = '{}'", self.schema.trim_matches('"'))
    }

    pub(super) fn make_schema(&self) -> String {
        format!("CREATE SCHEMA IF NOT EXISTS {}", self.schema)
    }

    pub(super) fn marker(&self, schema: u32) -> String {
        self.of(MARKER).replace("{schema}", &schema.to_string())
    }

    pub(super) fn lock(&self) -> String {
        self.of(LOCK)
    }

    pub(super) fn read(&self) -> String {
        self.of(READ)
    }

    pub(super) fn save(&self) -> String {
        self.of(SAVE)
    }

    pub(super) fn remove(&self) -> String {
        self.of(REMOVE)
    }

    pub(super) fn sweep_cells(&self) -> String {
        self.of(SWEEP_CELLS)
    }

    pub(super) fn sweep_record(&self) -> String {
        self.of(SWEEP_RECORD)
    }

    pub(super) fn check(&self) -> String {
        self.of(CHECK)
    }

    pub(super) fn mark(&self) -> String {
        self.of("SELECT epoch, sequence, schema, writable_from FROM $.ledger WHERE id = 1")
    }

    pub(super) fn cells(&self) -> String {
        self.of("SELECT name, tat, held, asked FROM $.cells WHERE realm = $1")
    }

    pub(super) fn documents(&self) -> String {
        // Not `LIKE`, which has characters of its own, nor `<`, which is the collation's.
        self.of("SELECT name, version, body FROM $.documents WHERE realm = $1 AND substr(name, 1, length($2::TEXT)) = $2::TEXT")
    }

    pub(super) fn records(&self) -> String {
        self.of("SELECT sequence, at, realm, body FROM $.record WHERE sequence >= $1 ORDER BY sequence LIMIT $2")
    }
}
