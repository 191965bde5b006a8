//! What a power cut leaves of the modelled disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::world::{Change, Inode, Node, SECTOR, World};
use crate::rng::Rng;

/// Which of the changes to files that were not synced are on the platter after a cut. Each file
/// draws for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// None: each file is as it was at its last sync.
    Nothing,
    /// The first so many, the last of them up to a sector.
    Prefix,
    /// Each sector in one of the versions that it had since the sync, and the length likewise, so
    /// that a file can be longer than what was written of it (the rest reads as zero) or shorter.
    Sectors,
    /// The length, and some sectors; in the others what was written reads as zero.
    Zeros,
    /// The length, and some sectors; in the others what was written is random bytes.
    Garbage,
}

impl Keep {
    pub const ALL: [Self; 5] =
        [Self::Nothing, Self::Prefix, Self::Sectors, Self::Zeros, Self::Garbage];
}

/// Which of the changes to directories that were not synced are on the platter after a cut. Each
/// directory draws for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepNames {
    /// None: new files are gone, renames undone, removed files back.
    Nothing,
    /// The first so many.
    Prefix,
    /// All.
    All,
}

impl KeepNames {
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Prefix, Self::All];
}

/// One way in which a power cut can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub files: Keep,
    pub names: KeepNames,
    pub seed: u64,
}

impl World {
    /// The disk as it is found after a power cut at this moment.
    pub(super) fn cut(&self, cut: Cut) -> Self {
        let mut rng = Rng::new(cut.seed ^ 0x00c0_ffee);
        let names = self.cut_names(cut.names, &mut rng);
        let files = names.values().filter_map(|node| match node {
            Node::File(inode) => Some(*inode),
            Node::Dir => None,
        });
        let inodes = files.map(|inode| {
            let file = &self.inodes[&inode];
            // What is on the platter is not copied where nothing else could be.
            let content = match file.pending.is_empty() {
                true => Arc::clone(&file.platter),
                false => Arc::new(cut_file(file, cut.files, &mut rng)),
            };
            (inode, file.found_with(content))
        });
        let inodes = inodes.collect();
        self.restarted(names, inodes, rng)
    }

    fn cut_names(&self, keep: KeepNames, rng: &mut Rng) -> BTreeMap<PathBuf, Node> {
        let mut left: BTreeMap<_, usize> = BTreeMap::new();
        for change in &self.name_changes {
            *left.entry(change.dir()).or_default() += 1;
        }
        for count in left.values_mut() {
            *count = match keep {
                KeepNames::Nothing => 0,
                KeepNames::Prefix => rng.below(*count + 1),
                KeepNames::All => *count,
            };
        }
        let mut names = self.kept_names.clone();
        for change in &self.name_changes {
            if let Some(count) = left.get_mut(change.dir()).filter(|count| **count > 0) {
                *count -= 1;
                change.apply(&mut names);
            }
        }
        // What lies in a directory that did not make it cannot be reached.
        let reachable =
            |path: &PathBuf| path.ancestors().skip(1).all(|dir| names.get(dir) == Some(&Node::Dir));
        let lost: Vec<_> = names.keys().filter(|path| !reachable(path)).cloned().collect();
        for path in lost {
            names.remove(&path);
        }
        names
    }
}

fn cut_file(file: &Inode, keep: Keep, rng: &mut Rng) -> Vec<u8> {
    let mut content = file.platter.as_ref().clone();
    let changes = &file.pending;
    let mut len = length(changes, content.len());
    let seed = rng.number();
    match keep {
        Keep::Nothing => return content,
        Keep::Prefix => {
            keep_prefix(&mut content, changes, rng);
            return content;
        }
        Keep::Sectors => {
            len = length(&changes[..rng.below(changes.len() + 1)], content.len());
            keep_sectors(&mut content, changes, seed, |_, _| {});
        }
        Keep::Zeros => keep_sectors(&mut content, changes, seed, |lost, _| lost.fill(0)),
        Keep::Garbage => keep_sectors(&mut content, changes, seed, |lost, rng| {
            lost.fill_with(|| rng.number().to_le_bytes()[0]);
        }),
    }
    content.resize(len, 0);
    content
}

fn length(changes: &[Change], before: usize) -> usize {
    changes.iter().fold(before, |len, change| change.length_after(len))
}

fn keep_prefix(content: &mut Vec<u8>, changes: &[Change], rng: &mut Rng) {
    let kept = rng.below(changes.len() + 1);
    changes[..kept].iter().for_each(|change| change.apply(content));
    if let Some(Change::Write { offset, bytes }) = changes.get(kept) {
        let sectors = (offset % SECTOR + bytes.len()).div_ceil(SECTOR);
        let end = (offset / SECTOR + rng.below(sectors)) * SECTOR;
        let torn = bytes[..end.saturating_sub(*offset)].to_vec();
        if !torn.is_empty() {
            Change::Write { offset: *offset, bytes: torn }.apply(content);
        }
    }
}

/// Brings each sector to one of its versions, chosen by the seed; what later writes put there goes
/// to `lose`. The content becomes as long as it ever was.
fn keep_sectors(
    content: &mut Vec<u8>,
    changes: &[Change],
    seed: u64,
    mut lose: impl FnMut(&mut [u8], &mut Rng),
) {
    let mut rng = Rng::new(seed);
    for (at, change) in changes.iter().enumerate() {
        let len = change.length_after(content.len());
        content.resize(len.max(content.len()), 0);
        let (start, end) = match change {
            Change::Write { offset, bytes } => (*offset, offset + bytes.len()),
            Change::Length(len) => (*len, content.len()),
        };
        for part in sectors(start, end) {
            let kept = at < versions_kept(seed, part.start / SECTOR, changes.len());
            match change {
                Change::Write { bytes, .. } if kept => {
                    let source = &bytes[part.start - start..part.end - start];
                    content[part].copy_from_slice(source);
                }
                Change::Write { bytes, .. } => {
                    // What is there already stays, whatever part of it is written again.
                    let new = &bytes[part.start - start..part.end - start];
                    let old = content[part.clone()].to_vec();
                    lose(&mut content[part.clone()], &mut rng);
                    for ((byte, old), new) in content[part].iter_mut().zip(old).zip(new) {
                        if old == *new {
                            *byte = old;
                        }
                    }
                }
                Change::Length(_) if kept => content[part].fill(0),
                Change::Length(_) => {}
            }
        }
    }
}

/// The range cut at the borders of sectors.
fn sectors(start: usize, end: usize) -> impl Iterator<Item = Range<usize>> {
    (start / SECTOR..end.div_ceil(SECTOR))
        .map(move |sector| (sector * SECTOR).max(start)..((sector + 1) * SECTOR).min(end))
}

/// How many of the changes the sector has on the platter: any number, and often all of them.
fn versions_kept(seed: u64, sector: usize, changes: usize) -> usize {
    let mut rng = Rng::new(seed ^ (sector as u64).wrapping_mul(0x9e37_79b9));
    if rng.number() & 1 == 0 { rng.below(changes + 1) } else { changes }
}
