use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::key;
use crate::index::{Code, NoColumn, Row, SUPERSEDED, Table};
use crate::model::{Field, FieldSet, Kind, Severity, Status};
use crate::query::filter::Filter;
use crate::query::list::{InVain, SegmentList};
use crate::query::plan::{Miss, Pass, Plan, candidates};
use crate::query::text::Search;
use crate::query::view::View;
use crate::segment::{Pinned, TableRef};

/// One row of so many is looked at by itself, and the others are still counted by their tags.
const FEW_OF: usize = 8;

/// How many records match, and of them how many carry each value of a field.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) by_value: HashMap<String, u64>,
}

/// Counts the records that match; with a field also by its values. Records are read only to find a
/// text in them, and one for each value to tell its name.
pub(super) fn count(view: &View, filter: &Filter, field: Option<Field>) -> Result<Counts> {
    view.ask(|lists| try_count(lists, filter, field))
}

/// `None` when a segment was sealed meanwhile in such a way that the query has to begin anew.
fn try_count(
    lists: &[Arc<SegmentList>],
    filter: &Filter,
    field: Option<Field>,
) -> Result<Option<Counts>> {
    let mut counts = Counts::default();
    let fields = field.into_iter().fold(filter.fields(), FieldSet::with);
    let mut in_vain = InVain::default();
    for candidate in candidates(lists, filter) {
        let pinned = Pinned::new(&candidate.entry.segment)?;
        let horizon = candidate.horizon;
        let counted = pinned.segment().with_table(fields, |table| match table {
            TableRef::Memory(table) => {
                Plan::new(filter, &pinned, table, Some(table), (horizon, false))
                    .map(|plan| count_in(&pinned, table, filter, &plan, field, &mut counts))
            }
            TableRef::Sealed(table) => Plan::new(filter, &pinned, table, None, (horizon, false))
                .map(|plan| count_in(&pinned, table, filter, &plan, field, &mut counts)),
        })?;
        match counted {
            Ok(counted) => counted?,
            Err(Miss::NoKey(field)) => in_vain.note(candidate.list, candidate.entry, field),
            Err(Miss::Sealed) => return Ok(None),
        }
    }
    in_vain.enter();
    Ok(Some(counts))
}

fn count_in<T: Table>(
    pinned: &Pinned,
    table: &T,
    filter: &Filter,
    plan: &Plan<'_>,
    field: Option<Field>,
    counts: &mut Counts,
) -> Result<()> {
    let mut groups = Groups::new(pinned.segment().kind(), field, filter.damaged);
    let (low, high) = plan.window(table);
    let few = (high - low) as usize / FEW_OF;
    let by_tag = filter.text.is_none().then(|| plan.not_by_tag(few)).flatten();
    if by_tag.is_some_and(|overtaken| groups.add_all(table, plan, &overtaken).is_ok()) {
        counts.total += groups.total;
        return groups.name(pinned, table, &mut counts.by_value);
    }
    let mut search = filter.search(pinned);
    for_each_match(table, plan, &mut |row| {
        if search.as_mut().is_none_or(|it| it.finds(table.seq(row), table.offset(row))) {
            groups.add(table, row);
        }
    });
    counts.total += groups.total;
    groups.name(pinned, table, &mut counts.by_value)?;
    search.map_or(Ok(()), Search::end)
}

/// Visits the rows that match, in no order.
fn for_each_match<T: Table>(table: &T, plan: &Plan<'_>, visit: &mut dyn FnMut(Row)) {
    let (low, high) = plan.window(table);
    match plan.narrowest(table).filter(|&(rows, _)| rows < u64::from(high - low)) {
        Some((_, keys)) => {
            let pass = plan.pass(table);
            for key in keys {
                table.for_each_posting(key.field, key.code, &mut |row| match pass(row) {
                    Pass::Skip => ControlFlow::Continue(()),
                    Pass::End => ControlFlow::Break(()),
                    Pass::Look => {
                        let fits = plan.accepts(table, row, Some(key));
                        if fits && plan.in_window(table.created_at(row)) {
                            visit(row);
                        }
                        ControlFlow::Continue(())
                    }
                });
            }
        }
        None => (low..high)
            .map(|position| table.time_row(position))
            .filter(|&row| plan.accepts(table, row, None))
            .for_each(visit),
    }
}

/// The rows of one segment, counted by tag or by code.
struct Groups {
    kind: Kind,
    field: Option<Field>,
    total: u64,
    tags: [u64; 32],
    codes: HashMap<Code, u64>,
    /// Rows whose codes the table keeps no column of, to be looked up in the postings.
    rows: Vec<Row>,
    /// True when values are left out of which no record can be read.
    passes_damaged: bool,
}

impl Groups {
    fn new(kind: Kind, field: Option<Field>, passes_damaged: bool) -> Self {
        let (tags, codes, rows) = ([0; 32], HashMap::new(), Vec::new());
        Self { kind, field, total: 0, tags, codes, rows, passes_damaged }
    }

    /// Counts all rows of the window whose tags match, but for those that are overtaken; nothing
    /// when the table keeps no column by which they are grouped.
    fn add_all<T: Table>(
        &mut self,
        table: &T,
        plan: &Plan<'_>,
        overtaken: &[u64],
    ) -> Result<(), NoColumn> {
        let rows = overtaken.iter().filter_map(|&seq| table.row_of(seq));
        let rows = rows.filter(|&row| plan.in_window(table.created_at(row)));
        match self.field {
            None | Some(Field::Status | Field::Severity) => self.add_tags(table, plan, rows),
            Some(field) => self.add_codes(table, plan, field, rows)?,
        }
        Ok(())
    }

    fn add_tags<T: Table>(
        &mut self,
        table: &T,
        plan: &Plan<'_>,
        overtaken: impl Iterator<Item = Row>,
    ) {
        let (low, high) = plan.window(table);
        let mut counts = [0u64; 256];
        for position in low..high {
            if let Some(count) = counts.get_mut(usize::from(table.tag(table.time_row(position)))) {
                *count += 1;
            }
        }
        for row in overtaken {
            if let Some(count) = counts.get_mut(usize::from(table.tag(row))) {
                *count = count.saturating_sub(1);
            }
        }
        for (tag, &count) in (0u8..=u8::MAX).zip(&counts).filter(|(tag, _)| plan.accepts_tag(*tag))
        {
            self.total += count;
            if let Some(of_tag) = self.tags.get_mut(usize::from(tag & !SUPERSEDED)) {
                *of_tag += count;
            }
        }
    }

    fn add_codes<T: Table>(
        &mut self,
        table: &T,
        plan: &Plan<'_>,
        field: Field,
        overtaken: impl Iterator<Item = Row>,
    ) -> Result<(), NoColumn> {
        let (low, high) = plan.window(table);
        let accepted: [bool; 256] =
            std::array::from_fn(|tag| u8::try_from(tag).is_ok_and(|tag| plan.accepts_tag(tag)));
        let accepts = |row| accepted.get(usize::from(table.tag(row))).is_some_and(|it| *it);
        let mut counts = vec![0u64; table.key_count(field) as usize];
        let mut total = 0;
        table.for_each_code(field, low..high, &mut |row, code| {
            if accepts(row) {
                total += 1;
                if let Some(count) = code.and_then(|code| counts.get_mut(code as usize)) {
                    *count += 1;
                }
            }
        })?;
        for row in overtaken.filter(|&row| accepts(row)) {
            total = u64::saturating_sub(total, 1);
            let code = table.code(field, row)?;
            if let Some(count) = code.and_then(|code| counts.get_mut(code as usize)) {
                *count = count.saturating_sub(1);
            }
        }
        self.total += total;
        self.codes.extend((0..).zip(counts).filter(|(_, count)| *count > 0));
        Ok(())
    }

    fn add<T: Table>(&mut self, table: &T, row: Row) {
        self.total += 1;
        match self.field {
            None => {}
            Some(Field::Status | Field::Severity) => {
                let tag = usize::from(table.tag(row) & !SUPERSEDED);
                if let Some(count) = self.tags.get_mut(tag) {
                    *count += 1;
                }
            }
            Some(field) => match table.code(field, row) {
                Ok(Some(code)) => *self.codes.entry(code).or_default() += 1,
                Ok(None) => {}
                Err(_) => self.rows.push(row),
            },
        }
    }

    fn name<T: Table>(
        mut self,
        pinned: &Pinned,
        table: &T,
        names: &mut HashMap<String, u64>,
    ) -> Result<()> {
        let Some(field) = self.field else { return Ok(()) };
        for (tag, &count) in (0u8..).zip(&self.tags).filter(|&(_, &count)| count > 0) {
            if let Some(name) = tag_name(self.kind, field, tag) {
                *names.entry(name.to_owned()).or_default() += count;
            }
        }
        self.look_up_rows(table, field);
        for (code, count) in self.codes {
            if let Some(name) = key_name(pinned, table, field, code, self.passes_damaged)? {
                *names.entry(name).or_default() += count;
            }
        }
        Ok(())
    }

    fn look_up_rows<T: Table>(&mut self, table: &T, field: Field) {
        if self.rows.is_empty() {
            return;
        }
        self.rows.sort_unstable();
        for code in 0..table.key_count(field) {
            let mut count = 0;
            table.for_each_posting(field, code, &mut |row| {
                count += u64::from(self.rows.binary_search(&row).is_ok());
                ControlFlow::Continue(())
            });
            if count > 0 {
                self.codes.insert(code, count);
            }
        }
    }
}

/// The name of a status or severity; `None` when records of this kind have no such field.
fn tag_name(kind: Kind, field: Field, tag: u8) -> Option<&'static str> {
    match (field, kind) {
        (Field::Status, Kind::Run) => Status::from_code(tag).map(Status::name),
        (Field::Severity, Kind::Event | Kind::Error) => {
            Severity::from_code(tag).map(Severity::name)
        }
        _ => None,
    }
}

/// The text of a key, from the first record of it that can be read; `None` when all are damaged,
/// and that is to be passed over.
fn key_name<T: Table>(
    pinned: &Pinned,
    table: &T,
    field: Field,
    code: Code,
    passes_damaged: bool,
) -> Result<Option<String>> {
    let mut name = Ok(None);
    table.for_each_posting(field, code, &mut |row| match pinned
        .record(table.seq(row), table.offset(row))
    {
        Ok(record) => {
            let mut text = None;
            key::keys_of(&record.body, |other, bytes| {
                if other == field {
                    text = key::key_text(field, bytes);
                }
            });
            name = Ok(text);
            ControlFlow::Break(())
        }
        Err(Error::Damaged { .. }) if passes_damaged => ControlFlow::Continue(()),
        Err(err) => {
            name = Err(err);
            ControlFlow::Continue(())
        }
    });
    name
}
