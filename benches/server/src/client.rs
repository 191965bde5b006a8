//! Clients: threads with a connection each, that ask again as soon as they are answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use runledger::storage::{Disk, Storage};

use crate::Outcome;

/// A connection that is kept open.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    line: String,
    /// The body of the last answer.
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    /// Sends a request and takes its answer, which is to have a status of the two hundreds.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Outcome {
        self.stream.get_mut().write_all(request)?;
        let mut length = None;
        self.line.clear();
        self.stream.read_line(&mut self.line)?;
        let is_good = self.line.starts_with("HTTP/1.1 2");
        let status = self.line.trim_end().to_owned();
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line)?;
            let line = self.line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse()?);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        self.body.resize(length.ok_or("an answer without a length")?, 0);
        self.stream.read_exact(&mut self.body)?;
        match is_good {
            true => Ok(()),
            false => Err(format!("{status}: {}", String::from_utf8_lossy(&self.body)).into()),
        }
    }
}

/// A request with a body.
pub(crate) fn post(path: &str, media: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into()
}

/// How long each request took that as many clients as there are lists of requests could send in
/// this time. Each sends its own, from the first to the last and again.
pub(crate) fn hammer(
    address: &str,
    requests: &[Vec<Vec<u8>>],
    time: Duration,
) -> Outcome<Vec<Duration>> {
    let mut took = Vec::new();
    let clients: Vec<Outcome<Vec<Duration>>> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            requests.iter().map(|own| scope.spawn(|| one(address, own, time))).collect();
        let ended = |client: std::thread::ScopedJoinHandle<'_, _>| {
            client.join().unwrap_or_else(|_| Err("a client has panicked".into()))
        };
        clients.into_iter().map(ended).collect()
    });
    for client in clients {
        took.extend(client?);
    }
    took.sort_unstable();
    Ok(took)
}

fn one(address: &str, requests: &[Vec<u8>], time: Duration) -> Outcome<Vec<Duration>> {
    let mut client = Client::connect(address)?;
    let begin = Disk.monotonic();
    let mut took = Vec::new();
    for request in requests.iter().cycle() {
        let before = Disk.monotonic();
        if before.saturating_sub(begin) >= time {
            break;
        }
        client.ask(request)?;
        took.push(Disk.monotonic().saturating_sub(before));
    }
    Ok(took)
}

/// The value that this share of a sorted list does not exceed.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
