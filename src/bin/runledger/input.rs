//! Lines from files, from compressed files and from the standard input.

use std::cell::Cell;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use runledger::limits::MAX_LINE_BYTES;

use crate::exit::Failure;

/// The name of the standard input.
const STDIN: &str = "-";

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The byte order mark, with which some programs begin a file of UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// The lines of one input, with their numbers.
pub(crate) struct Lines {
    name: String,
    reader: Box<dyn BufRead>,
    consumed: Rc<Cell<u64>>,
    size: Option<u64>,
    number: u64,
    drained: bool,
}

/// What [`Lines::read_into`] found.
pub(crate) enum Found {
    /// A line, without its line end, is at the end of the buffer.
    Line,
    /// A line of this many bytes, more than any record can have; the buffer is as it was.
    TooLong(usize),
    /// There are no more lines.
    End,
}

/// Says what is wrong with the name of an input, if anything is.
///
/// # Errors
/// When the file cannot be opened, or is a directory.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let is_pipe = fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    // A named pipe that is closed again ends its writer.
    if path != Path::new(STDIN) && !is_pipe {
        open(path)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<(File, Metadata), Failure> {
    let failed = |err| Failure::io("open", path, err);
    let file = OpenOptions::new().read(true).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        let text = format!("{} is a directory: name the files in it", path.display());
        return Err(Failure::Usage(text));
    }
    Ok((file, meta))
}

impl Lines {
    /// Opens a file, or the standard input for `-`. What is compressed with gzip or zstd is told
    /// by its first bytes, whatever its name.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let (name, raw, size): (_, Box<dyn Read>, _) = if path == Path::new(STDIN) {
            ("(standard input)".to_owned(), Box::new(io::stdin().lock()), None)
        } else {
            let (file, meta) = open(path)?;
            (path.display().to_string(), Box::new(file), meta.is_file().then_some(meta.len()))
        };
        let consumed = Rc::new(Cell::new(0));
        let raw = Counted { inner: raw, consumed: Rc::clone(&consumed) };
        let raw = BufReader::with_capacity(1 << 17, raw);
        let (coding, raw) = coding(raw).map_err(|err| Failure::io("read", path, err))?;
        let reader = match coding {
            Coding::Plain => Box::new(raw) as Box<dyn BufRead>,
            Coding::Gzip => Box::new(BufReader::with_capacity(1 << 17, MultiGzDecoder::new(raw))),
            Coding::Zstd => {
                let decoder = zstd::Decoder::with_buffer(raw)
                    .map_err(|err| Failure::io("decompress", path, err))?;
                Box::new(BufReader::with_capacity(1 << 17, decoder))
            }
        };
        Ok(Self { name, reader, consumed, size, number: 0, drained: false })
    }

    /// The input's name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The number of the line that was read last, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes of the file have been read, before decompression.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed.get()
    }

    /// The length of the file in bytes; `None` for a pipe.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// True when the next line of a pipe may be long in coming: all that it has brought was read.
    pub(crate) fn may_wait(&self) -> bool {
        self.drained && self.size.is_none()
    }

    /// Adds the next line to the buffer.
    ///
    /// # Errors
    /// When reading or decompressing fails; the text names the file, the line and the byte.
    pub(crate) fn read_into(&mut self, buffer: &mut Vec<u8>) -> Result<Found, Failure> {
        let start = buffer.len();
        self.number += 1;
        let mut length = 0_usize;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => {
                    buffer.truncate(start);
                    return Err(self.broken(err));
                }
            };
            let at_end = chunk.is_empty();
            let newline = memchr::memchr(b'\n', chunk);
            let (piece, used) = match newline {
                Some(at) => (chunk.get(..at).unwrap_or_default(), at + 1),
                None => (chunk, chunk.len()),
            };
            self.drained = used == chunk.len();
            length += piece.len();
            // Past the limit the rest is read and dropped, so that memory stays bounded.
            if length <= MAX_LINE_BYTES {
                buffer.extend_from_slice(piece);
            }
            self.reader.consume(used);
            if newline.is_none() && !at_end {
                continue;
            }
            if at_end && length == 0 {
                return Ok(Found::End);
            }
            if length > MAX_LINE_BYTES {
                buffer.truncate(start);
                return Ok(Found::TooLong(length));
            }
            if buffer.len() > start && buffer.last() == Some(&b'\r') {
                buffer.pop();
            }
            if self.number == 1 && buffer.get(start..).is_some_and(|line| line.starts_with(MARK)) {
                buffer.drain(start..start + MARK.len());
            }
            return Ok(Found::Line);
        }
    }

    fn broken(&self, source: io::Error) -> Failure {
        let what = format!(
            "read {} at line {} (byte {} of the file)",
            self.name,
            self.number,
            self.consumed()
        );
        Failure::Io { what, source }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
    Zstd,
}

/// How it is compressed, with what gives all of its bytes. A pipe may bring the first of them one
/// by one.
fn coding<R: BufRead>(mut raw: R) -> io::Result<(Coding, impl BufRead + use<R>)> {
    let mut start = Vec::new();
    raw.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut start)?;
    let coding = if start.starts_with(GZIP_MAGIC) {
        Coding::Gzip
    } else if start.starts_with(ZSTD_MAGIC) {
        Coding::Zstd
    } else {
        Coding::Plain
    };
    Ok((coding, Cursor::new(start).chain(raw)))
}

/// A reader that counts.
struct Counted {
    inner: Box<dyn Read>,
    consumed: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.consumed.set(self.consumed.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut lines = Lines::open(file.path())?;
        let mut found = Vec::new();
        loop {
            let mut buffer = b"before".to_vec();
            match lines.read_into(&mut buffer)? {
                Found::Line => {
                    found.push(String::from_utf8(buffer.split_off(6)).unwrap());
                    assert_eq!(lines.number(), found.len() as u64);
                }
                Found::TooLong(length) => found.push(format!("too long: {length}")),
                Found::End => return Ok(found),
            }
            assert_eq!(buffer, b"before");
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn line_ends_of_every_sort() {
        assert_eq!(lines(b"").unwrap(), [""; 0]);
        assert_eq!(lines(b"a").unwrap(), ["a"]);
        assert_eq!(lines(b"a\r\n\n\nb\n").unwrap(), ["a", "", "", "b"]);
        let marked = "\u{feff}a\n\u{feff}b\n";
        assert_eq!(lines(marked.as_bytes()).unwrap(), ["a", "\u{feff}b"]);
    }

    #[test]
    fn compressed_input_is_told_by_its_first_bytes() {
        let text = b"one\ntwo\n";
        assert_eq!(lines(&gzip(text)).unwrap(), ["one", "two"]);
        let two_members = [gzip(b"one\n"), gzip(b"two\n")].concat();
        assert_eq!(lines(&two_members).unwrap(), ["one", "two"]);
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        assert_eq!(lines(&[zstd.clone(), zstd].concat()).unwrap(), ["one", "two", "one", "two"]);
    }

    /// A reader that gives a byte at a time.
    struct OneByOne<'a>(&'a [u8]);

    impl Read for OneByOne<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let most = buf.len().min(1);
            self.0.read(&mut buf[..most])
        }
    }

    /// The first byte alone told nothing, and was taken for text with all that followed.
    #[test]
    fn compressed_input_that_comes_byte_by_byte_is_told_too() {
        let text = b"one\ntwo\n";
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        for (bytes, expected) in [
            (gzip(text), Coding::Gzip),
            (zstd, Coding::Zstd),
            (text.to_vec(), Coding::Plain),
            (b"a".to_vec(), Coding::Plain),
            (Vec::new(), Coding::Plain),
        ] {
            let (told, mut all) = coding(BufReader::new(OneByOne(&bytes))).unwrap();
            let mut read = Vec::new();
            all.read_to_end(&mut read).unwrap();
            assert_eq!((told, &read), (expected, &bytes));
        }
    }

    #[test]
    fn broken_gzip_names_the_place() {
        let mut bytes = gzip("some line\n".repeat(1000).as_bytes());
        bytes.truncate(bytes.len() - 9);
        let Err(Failure::Io { what, .. }) = lines(&bytes) else { panic!() };
        assert!(what.contains("at line"), "{what}");
        assert!(what.contains("byte"), "{what}");
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over() {
        let mut bytes = vec![b'x'; MAX_LINE_BYTES];
        bytes.extend_from_slice(b"y\nnext\n");
        let found = lines(&bytes).unwrap();
        assert_eq!(found, [format!("too long: {}", MAX_LINE_BYTES + 1), "next".to_owned()]);
        bytes.remove(0);
        assert_eq!(lines(&bytes).unwrap()[0].len(), MAX_LINE_BYTES);
    }
}
