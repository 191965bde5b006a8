//! Rows in columns that fit the terminal, or run as wide as they are in a pipe.

use std::borrow::Cow;
use std::io::{self, Write};

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output::{Screen, colour, escape};

/// Rows that are looked at before the columns get their widths. Those after them are written as
/// they come, so that the memory does not grow with the rows.
const SAMPLE: usize = 1000;

/// Between two columns.
const GAP: &str = "  ";

/// How many times its least width a column of text is to have before an optional one is shown.
const COMFORT: usize = 2;

/// Stands for an empty cell in a pipe, so that every line has the same number of fields.
const NOTHING: &str = "-";

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    /// How far it may be narrowed on a terminal; `None` never is.
    least: Option<usize>,
    /// Left out on a terminal that is too narrow.
    optional: bool,
    /// On a terminal it stands on a line of its own below the row.
    below: bool,
}

impl Column {
    /// A column of short words, shown whole.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self { title, right: false, least: None, optional: false, below: false }
    }

    /// A column of numbers.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { title, right: true, least: None, optional: false, below: false }
    }

    /// A column of text that may be cut to `least` columns of a terminal.
    pub(crate) const fn text(title: &'static str, least: usize) -> Self {
        Self { title, right: false, least: Some(least), optional: false, below: false }
    }

    /// The same column, to be left out where there is no room for all.
    pub(crate) const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The same column, which is never cut: on a terminal its cells stand below the row, without a
    /// title, beside those of the other columns that do.
    pub(crate) const fn below(mut self) -> Self {
        self.below = true;
        self
    }
}

/// A cell: its text on one line, and how it is coloured.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell of this text, made safe to show.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: escape::line(text).into_owned(), style: Style::new() }
    }

    /// As [`Cell::new`]; empty when there is none.
    pub(crate) fn maybe(text: Option<impl ToString>) -> Self {
        Self::new(&text.map(|text| text.to_string()).unwrap_or_default())
    }

    /// The same cell, or this text when it is empty.
    pub(crate) fn or(mut self, text: &str) -> Self {
        if self.text.is_empty() {
            self.text = escape::line(text).into_owned();
        }
        self
    }

    /// The same cell in a colour.
    pub(crate) fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

/// A table that is written row by row.
pub(crate) struct Table<'a, W> {
    screen: &'a Screen,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    /// The width of each column once it is set; a column of width 0 is left out.
    widths: Option<Vec<usize>>,
    follows: bool,
    out: W,
}

impl<'a, W: Write> Table<'a, W> {
    /// A table of these columns.
    pub(crate) fn new(screen: &'a Screen, columns: &[Column], out: W) -> Self {
        Self {
            screen,
            columns: columns.to_vec(),
            rows: Vec::new(),
            widths: None,
            follows: false,
            out,
        }
    }

    /// The same table, whose first rows say little of those to come.
    pub(crate) fn follows(mut self) -> Self {
        self.follows = true;
        self
    }

    /// Adds a row: as many cells as there are columns.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        if let Some(widths) = &self.widths {
            return write_row(&mut self.out, self.screen, &self.columns, widths, &cells);
        }
        self.rows.push(cells);
        if self.rows.len() >= SAMPLE { self.flush() } else { Ok(()) }
    }

    /// Writes what was held back; rows that come later keep the widths.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.widths.is_none() {
            let widths = widths(&self.columns, &self.rows, self.screen.width(), self.follows);
            let titles = self
                .columns
                .iter()
                .map(|column| Cell { text: column.title.to_owned(), style: colour::heading() });
            let titles: Vec<_> = titles.collect();
            write_line(&mut self.out, self.screen, &self.columns, &widths, &titles)?;
            for row in self.rows.drain(..) {
                write_row(&mut self.out, self.screen, &self.columns, &widths, &row)?;
            }
            self.widths = Some(widths);
        }
        self.out.flush()
    }
}

/// The width of each column, so that a row fits into the terminal if it can at all.
///
/// On a terminal a column in which nothing stands is left out, unless more rows are to come
/// (`follows`), for which text gets some room in advance.
fn widths(
    columns: &[Column],
    rows: &[Vec<Cell>],
    screen: Option<usize>,
    follows: bool,
) -> Vec<usize> {
    let natural = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.text.width()).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(natural).collect();
    for (width, column) in widths.iter_mut().zip(columns) {
        if screen.is_some() && column.below {
            *width = 0;
            continue;
        }
        if screen.is_none() || *width > 0 || rows.is_empty() || follows {
            *width = (*width).max(column.title.len());
        }
        if follows {
            *width = (*width).max(COMFORT * column.least.unwrap_or(0));
        }
    }
    let Some(screen) = screen else { return widths };
    leave_out(columns, &mut widths, screen);
    while total(&widths) > screen {
        let over = total(&widths) - screen;
        let Some((width, least, next)) = widest(columns, &mut widths) else { break };
        // The widest gives way until it is as wide as the next, and so on.
        let to = least.max(next).max(width.saturating_sub(over));
        *width = to.min(width.saturating_sub(1));
    }
    let spare = screen.saturating_sub(total(&widths));
    if let (Some(width), Some(Column { least: Some(_), .. })) = (widths.last_mut(), columns.last())
        && *width > 0
    {
        *width += spare;
    }
    widths
}

/// Leaves out optional columns, the last first, as long as the text in the others is cut short.
fn leave_out(columns: &[Column], widths: &mut [usize], screen: usize) {
    let wanted = |(column, width): (&Column, &usize)| {
        column.least.map_or(*width, |least| (*width).min(COMFORT * least))
    };
    let narrowest =
        |widths: &[usize]| total(&columns.iter().zip(widths).map(wanted).collect::<Vec<_>>());
    for at in (0..columns.len()).rev() {
        let optional = columns.get(at).is_some_and(|column| column.optional);
        if optional
            && narrowest(widths) > screen
            && let Some(width) = widths.get_mut(at)
        {
            *width = 0;
        }
    }
}

fn least_of(column: &Column, width: usize) -> usize {
    column.least.map_or(width, |least| least.max(column.title.len()).min(width))
}

/// The widest column that can be narrowed, how far it can, and the width of the next widest.
fn widest<'w>(
    columns: &[Column],
    widths: &'w mut [usize],
) -> Option<(&'w mut usize, usize, usize)> {
    let mut found: Vec<_> = columns
        .iter()
        .zip(widths)
        .map(|(column, width)| (least_of(column, *width), width))
        .filter(|(least, width)| **width > *least)
        .collect();
    found.sort_by_key(|(_, width)| **width);
    let (least, width) = found.pop()?;
    let next = found.last().map_or(0, |(_, width)| **width);
    Some((width, least, next))
}

/// The width of a row with its gaps.
fn total(widths: &[usize]) -> usize {
    let shown = widths.iter().filter(|&&width| width > 0);
    let gaps = shown.clone().count().saturating_sub(1) * GAP.len();
    shown.sum::<usize>() + gaps
}

/// Writes a row, and on a terminal below it what no column is to cut.
fn write_row(
    out: &mut impl Write,
    screen: &Screen,
    columns: &[Column],
    widths: &[usize],
    cells: &[Cell],
) -> io::Result<()> {
    write_line(out, screen, columns, widths, cells)?;
    let below = columns
        .iter()
        .zip(cells)
        .filter(|(column, cell)| column.below && screen.width().is_some() && !cell.text.is_empty());
    let below: Vec<_> = below.map(|(_, cell)| screen.paint(&cell.text, cell.style)).collect();
    if below.is_empty() { Ok(()) } else { writeln!(out, "{GAP}{}", below.join(GAP)) }
}

fn write_line(
    out: &mut impl Write,
    screen: &Screen,
    columns: &[Column],
    widths: &[usize],
    cells: &[Cell],
) -> io::Result<()> {
    let shown = columns.iter().zip(widths).zip(cells).filter(|((_, width), _)| **width > 0);
    let last = shown.clone().count().saturating_sub(1);
    let mut line = String::new();
    for (at, ((column, &width), cell)) in shown.enumerate() {
        if at > 0 {
            line.push_str(GAP);
        }
        let text = match screen.width() {
            Some(_) if column.least.is_some() => cut(&cell.text, width),
            Some(_) => Cow::Borrowed(cell.text.as_str()),
            None if cell.text.is_empty() => Cow::Borrowed(NOTHING),
            None => Cow::Borrowed(cell.text.as_str()),
        };
        let padding = width.saturating_sub(text.width());
        let text = screen.paint(&text, cell.style);
        if column.right {
            line.extend(std::iter::repeat_n(' ', padding));
        }
        line.push_str(&text);
        if !column.right && at < last {
            line.extend(std::iter::repeat_n(' ', padding));
        }
    }
    writeln!(out, "{}", line.trim_end())
}

/// The text in at most `width` columns, with `…` at its end when something is missing.
pub(crate) fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let taken = c.width().unwrap_or(0);
        let fits = taken <= room;
        room = if fits { room - taken } else { 0 };
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if width > 0 {
        short.push('…');
    }
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::number("SEQ"),
        Column::text("TYPE", 8),
        Column::text("PROJECT", 8).optional(),
        Column::text("MESSAGE", 12),
    ];

    fn table(width: Option<usize>, rows: &[[&str; 4]]) -> Vec<String> {
        let screen = Screen::plain(width);
        let mut out = Vec::new();
        let mut table = Table::new(&screen, &COLUMNS, &mut out);
        for row in rows {
            table.row(row.iter().map(|text| Cell::new(text)).collect()).unwrap();
        }
        table.flush().unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_pipe_cuts_nothing_and_has_every_field() {
        let long = "x".repeat(300);
        let lines = table(None, &[["1", "a", "", &long], ["22", "", "p", "two\nlines\u{1b}[31m"]]);
        assert_eq!(lines[0], "SEQ  TYPE  PROJECT  MESSAGE");
        assert_eq!(lines[1], format!("  1  a     -        {long}"));
        assert_eq!(lines[2], " 22  -     p        two\\nlines\\u{1b}[31m");
    }

    #[test]
    fn a_terminal_is_never_overrun() {
        let long = "日本語のとても長い文".repeat(20);
        let rows = [["1", "some.long.type.name", "project-with-name", &long], ["2", "a", "", ""]];
        for width in 27..140 {
            for line in table(Some(width), &rows) {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
        assert!(table(Some(120), &rows)[0].contains("PROJECT"));
        assert!(!table(Some(34), &rows)[0].contains("PROJECT"));
        assert!(table(Some(40), &rows)[1].ends_with('…'));
    }

    #[test]
    fn the_widest_columns_give_way_first() {
        let rows = [["1", "ten.chars.", "a", &"m".repeat(200)]];
        let lines = table(Some(60), &rows);
        assert!(lines[1].contains("ten.chars."), "{lines:?}");
        assert_eq!(lines[1].width(), 60);
    }

    #[test]
    fn what_is_empty_takes_no_room_on_a_terminal() {
        assert_eq!(table(Some(80), &[["1", "a", "", "m"]])[0], "SEQ  TYPE  MESSAGE");
        assert_eq!(table(Some(80), &[])[0], "SEQ  TYPE  PROJECT  MESSAGE");
    }

    #[test]
    fn what_must_not_be_cut_stands_below_on_a_terminal() {
        let columns =
            [Column::text("NAME", 4), Column::new("DONE").below(), Column::new("WHY").below()];
        let table = |width| {
            let screen = Screen::plain(width);
            let mut out = Vec::new();
            let mut table = Table::new(&screen, &columns, &mut out);
            for row in [["a name", "kept", "because it is young"], ["b", "", ""]] {
                table.row(row.iter().map(|text| Cell::new(text)).collect()).unwrap();
            }
            table.flush().unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(table(Some(6)), "NAME\na name\n  kept  because it is young\nb\n");
        assert_eq!(
            table(None),
            "NAME    DONE  WHY\na name  kept  because it is young\nb       -     -\n"
        );
    }

    #[test]
    fn cuts_fall_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("日本語", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn rows_beyond_the_sample_are_written_as_they_come() {
        let screen = Screen::plain(None);
        let mut out = Vec::new();
        let mut table = Table::new(&screen, &[Column::number("N")], &mut out);
        for n in 0..SAMPLE + 500 {
            table.row(vec![Cell::new(&n.to_string())]).unwrap();
            assert!(table.rows.len() < SAMPLE);
        }
        table.flush().unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), SAMPLE + 501);
    }
}
