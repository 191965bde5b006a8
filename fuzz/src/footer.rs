//! Footers: any bytes as sections and table, with all checksums put right.

use runledger::Field;
use runledger::format::crc;
use runledger::format::footer::FooterLayout;
use runledger::format::packed::Packed;
use runledger::format::trailer::{TRAILER_BYTES, TagCounts, Trailer};

use super::input::Input;

/// The size of the table's beginning and of an entry.
const ENTRY: usize = 16;

/// Rows, where the table begins, and the bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let rows = u32::from(input.short());
    let table = usize::from(input.short());
    let mut file = input.rest().to_vec();
    let Some(trailer) = repair(&mut file, 0, table, rows) else { return };
    file.extend([0; TRAILER_BYTES]);
    let Ok(layout) = FooterLayout::parse(&file, &trailer) else { return };
    let _ = layout.verify(&file);
    use_all(&layout, &file);
}

/// Puts the checksums of a footer right that begins at `base` of the file and whose table begins at
/// `table` and goes on to the end, and gives a trailer for it.
pub fn repair(file: &mut [u8], base: usize, table: usize, rows: u32) -> Option<Trailer> {
    let table = base.checked_add(table)?;
    if table.checked_add(ENTRY)? > file.len() {
        return None;
    }
    let count = (file.len() - table - ENTRY) / ENTRY;
    file[table..table + 4].copy_from_slice(b"\xf7RLt");
    file[table + 4..table + 8].copy_from_slice(&u32::try_from(count).ok()?.to_le_bytes());
    for at in (0..count).map(|number| table + ENTRY * (number + 1)) {
        let mut entry = Input::new(&file[at + 8..at + 16]);
        let (offset, len) = (entry.word(), entry.word());
        let range =
            usize::try_from(offset).ok()?..usize::try_from(offset.saturating_add(len)).ok()?;
        if let Some(section) = file.get(range) {
            let sum = crc::masked(section);
            file[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        }
    }
    Some(Trailer {
        frames_end: u32::try_from(base).ok()?,
        rows,
        records: rows,
        table_offset: u32::try_from(table).ok()?,
        table_crc: crc::masked(&file[table..]),
        first_seq: 1,
        last_seq: u64::from(rows),
        created_min: i64::MIN,
        created_max: i64::MAX,
        newest_max: i64::MAX,
        recorded_first: i64::MIN,
        recorded_last: i64::MAX,
        hash: [0; 32],
        previous: [0; 32],
        tags: TagCounts::default(),
    })
}

fn use_all(layout: &FooterLayout, file: &[u8]) {
    let columns = [
        layout.times(file),
        layout.seqs(file),
        layout.offsets(file),
        layout.frames(file),
        layout.supersedes(file),
    ];
    columns.into_iter().flatten().for_each(|column| use_column(&column));
    if let Ok((seqs, offsets)) = layout.open_runs(file) {
        assert_eq!(seqs.len(), offsets.len());
        use_column(&seqs);
        use_column(&offsets);
    }
    if let Ok(Some(order)) = layout.seq_order(file) {
        use_column(&order);
    }
    if let Ok(tags) = layout.tags(file) {
        assert!((0..layout.rows()).all(|row| tags.get(row).is_some()));
    }
    for field in Field::ALL {
        let Ok(Some(view)) = layout.field(file, *field) else { continue };
        let rows = u32::try_from(layout.rows()).expect("rows of 16 bits");
        for rank in (0..=view.key_count().min(300)).filter_map(|rank| u32::try_from(rank).ok()) {
            let _ = view.key_hash(rank).and_then(|hash| view.find(hash));
            let postings = view.postings(rank);
            assert_eq!(postings.len(), view.count(rank));
            assert!(postings.within(0, rows).len() <= postings.len());
            assert!(postings.clone().take(300).count() <= postings.len());
            let _ = postings.rev().take(300).count();
        }
        let _ = view.find(0);
        let _ = view.find(u64::MAX);
    }
}

fn use_column(column: &Packed<'_>) {
    assert!((0..column.len().min(2000)).all(|at| column.get(at).is_some()));
    assert_eq!(column.get(column.len()), None);
    assert!(column.partition_point(|value| value < 1 << 40) <= column.len());
    assert!(column.count_below(1 << 40, 500) <= column.len());
}
