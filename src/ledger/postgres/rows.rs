//! Rows as they go to the database and come from it.

use futures_util::future::join3;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::Trouble;
use super::connection::Decisions;
use crate::clock::Timescale;
use crate::ledger::page::{OVERDUE_MAX, Page, Row as Document};
use crate::ledger::{Cell, LedgerError, Mark, Reply, Step, Versions};
use crate::permits::Tally;
use crate::time::Timestamp;

/// A number of a row, in the type in which it is used.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T, Trouble> {
    let number: i64 = row.try_get(column)?;
    T::try_from(number).map_err(|_out_of_range| {
        let (what, reason) = (format!("column {}", row.columns()[column].name()), format!("it is {number}"));
        LedgerError::Row { what, reason }.into()
    })
}

fn micros(row: &Row, column: usize) -> Result<Option<Timestamp>, Trouble> {
    Ok(row.try_get::<_, Option<i64>>(column)?.map(Timestamp::from_unix_micros))
}

/// A cell whose TAT stands in column `first`.
pub(super) fn cell(row: &Row, first: usize) -> Result<Cell, Trouble> {
    let tally = Tally { tat: micros(row, first)?, held: number(row, first + 1)? };
    Ok(Cell { tally, asked: number(row, first + 2)? })
}

/// A count as the database has it.
fn counted(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Which rows the steps name.
#[derive(Default)]
struct Named<'a> {
    cells: (Vec<&'a str>, Vec<&'a str>),
    documents: (Vec<&'a str>, Vec<&'a str>),
    settled: Vec<&'a str>,
    overdue_max: i64,
}

impl<'a> Named<'a> {
    fn by(steps: &'a [Step]) -> Self {
        let mut cells: Vec<_> = steps
            .iter()
            .flat_map(|step| step.buckets.iter().map(|bucket| (step.realm.as_str(), bucket.name.as_str())))
            .collect();
        let mut documents: Vec<_> = steps
            .iter()
            .flat_map(|step| step.expect.iter().map(|(name, _)| (step.realm.as_str(), name.as_str())))
            .collect();
        let mut settled: Vec<_> = steps.iter().filter(|step| step.settled).map(|step| step.realm.as_str()).collect();
        [&mut cells, &mut documents].into_iter().for_each(|names| {
            names.sort_unstable();
            names.dedup();
        });
        settled.sort_unstable();
        settled.dedup();
        // So that enough are left of them when those are gone that steps of the call deal with.
        let writes: usize = steps.iter().map(|step| step.writes.len()).sum();
        let overdue_max = i64::try_from(OVERDUE_MAX + writes).unwrap_or(i64::MAX);
        Self { cells: cells.into_iter().unzip(), documents: documents.into_iter().unzip(), settled, overdue_max }
    }
}

/// Decides the steps: in a transaction that holds the ledger if one of them may change something.
pub(super) async fn decide(
    client: &Client,
    decisions: &Decisions,
    url: &str,
    steps: &[Step],
    timescale: Timescale,
) -> Result<Vec<Reply>, Trouble> {
    let named = Named::by(steps);
    let (from, to, speed) = timescale.in_micros();
    let Named { cells, documents, settled, overdue_max } = &named;
    let values: [&(dyn ToSql + Sync); 9] =
        [&cells.0, &cells.1, &documents.0, &documents.1, settled, overdue_max, &from, &to, &speed];
    let read = client.query(&decisions.read, &values);
    let changes = steps.iter().any(Step::changes);
    let rows = if changes {
        // All are sent at once, and answered one after the other.
        let begin = client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
        let (begun, locked, rows) = join3(begin, client.execute(&decisions.lock, &[]), read).await;
        begun?;
        locked?;
        rows?
    } else {
        read.await?
    };
    let mut page = None;
    for row in rows.iter().filter(|row| row.try_get(0).is_ok_and(|kind: i64| kind == 0)) {
        let versions = Versions { schema: number(row, 6)?, writable_from: number(row, 7)? };
        if versions.are_newer() {
            return Err(versions.refused(url.to_owned()).into());
        }
        let clock = Timestamp::from_unix_micros(row.try_get(5)?);
        let at = Timestamp::from_unix_micros(timescale.at(clock).unix_micros());
        page = Some((Page::new(Mark { epoch: number(row, 3)?, sequence: number(row, 4)? }), at));
    }
    let (mut page, at) = page.ok_or_else(|| LedgerError::NotInitialised { url: url.to_owned() })?;
    for row in &rows {
        load(&mut page, row, at)?;
    }
    let before = page.mark;
    let replies = steps.iter().map(|step| page.carry_out(step, at)).collect();
    if page.mark != before {
        save(client, decisions, &page).await?;
    } else if changes {
        client.batch_execute("ROLLBACK").await?;
    }
    Ok(replies)
}

/// Puts one of the rows that were read on the page.
fn load(page: &mut Page, row: &Row, at: Timestamp) -> Result<(), Trouble> {
    let kind: i64 = row.try_get(0)?;
    if kind == 0 {
        return Ok(());
    }
    let (realm, name) = (row.try_get(1)?, row.try_get(2)?);
    match kind {
        1 => page.cell_or(realm, name, || cell(row, 3)),
        2 => page.row_or(realm, name, || {
            Ok(Some(Document { version: number(row, 3)?, body: row.try_get(8)?, lease: micros(row, 4)? }))
        }),
        _ => {
            if micros(row, 3)?.is_some_and(|lease| lease <= at) {
                page.overdue(realm, name.to_owned());
            }
            Ok(())
        }
    }
}

/// Writes back what has changed, and ends the transaction.
async fn save(client: &Client, decisions: &Decisions, page: &Page) -> Result<(), Trouble> {
    let (mut cells, mut held, mut asked) = (Columns::default(), Vec::new(), Vec::new());
    for (realm, name, cell) in page.changed_cells() {
        cells.push(realm, name, cell.tally.tat);
        held.push(i64::from(cell.tally.held));
        asked.push(i64::from(cell.asked));
    }
    let (mut rows, mut versions, mut bodies) = (Columns::default(), Vec::new(), Vec::new());
    let mut gone = Columns::default();
    for (realm, name, row) in page.changed_rows() {
        match row {
            Some(row) => {
                rows.push(realm, name, row.lease);
                versions.push(counted(row.version));
                bodies.push(row.body.as_str());
            }
            None => gone.push(realm, name, None),
        }
    }
    let record = &page.records;
    let sequences: Vec<_> = record.iter().map(|line| counted(line.sequence)).collect();
    let times: Vec<_> = record.iter().map(|line| line.at.unix_micros()).collect();
    let realms: Vec<_> = record.iter().map(|line| line.realm.as_str()).collect();
    let said: Vec<_> = record.iter().map(|line| line.body.as_str()).collect();
    let (epoch, sequence) = (counted(page.mark.epoch), counted(page.mark.sequence));
    #[rustfmt::skip]
    let values: [&(dyn ToSql + Sync); 16] = [
        &cells.realms, &cells.names, &cells.micros, &held, &asked,
        &rows.realms, &rows.names, &versions, &bodies, &rows.micros,
        &sequences, &times, &realms, &said,
        &epoch, &sequence,
    ];
    let removed: [&(dyn ToSql + Sync); 2] = [&gone.realms, &gone.names];
    // All are sent at once. Where one fails, the database undoes all, and the commit too.
    let saves = client.execute(&decisions.save, &values);
    let removes =
        async { if gone.names.is_empty() { Ok(0) } else { client.execute(&decisions.remove, &removed).await } };
    let (saved, removed, committed) = join3(saves, removes, client.batch_execute("COMMIT")).await;
    saved?;
    removed?;
    committed?;
    Ok(())
}

/// Rows by columns: what all tables begin with, and an instant.
#[derive(Default)]
struct Columns<'a> {
    realms: Vec<&'a str>,
    names: Vec<&'a str>,
    micros: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, realm: &'a str, name: &'a str, at: Option<Timestamp>) {
        self.realms.push(realm);
        self.names.push(name);
        self.micros.push(at.map(Timestamp::unix_micros));
    }
}
