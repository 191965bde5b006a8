//! The servers, each in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use runledger::server::{App, Auth, Config, Rates};
use runledger::{Durability, Options};
use tokio::net::TcpListener;

use crate::{Outcome, sqlite};

/// The word on the command line that makes a process a server.
pub(crate) const CHILD: &str = "serve";

/// How memory is given back, as in `packaging`.
const MEMORY: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "262144")];

/// A server that listens, until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts a server of the `ledger` or of `sqlite` over this directory.
    pub(crate) fn start(what: &str, dir: &Path) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([CHILD, what])
            .arg(dir)
            .envs(MEMORY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    /// Bytes of its memory that are of no file.
    pub(crate) fn memory(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        Ok(line.ok_or("no RssAnon")?.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that cannot be killed is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until it is killed.
pub(crate) fn serve(what: &str, dir: &Path) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        match what {
            "sqlite" => Ok(axum::serve(listener, sqlite::router(dir)?).await?),
            _ => {
                let mut config = Config::new(Auth::Off);
                config.rates = Rates { per_address: 0, per_user: 0, cleanups: 0 };
                config.durability = Durability::Os;
                let ledger = Options::new().durability(Durability::Os).open(dir)?;
                let app = App::new(ledger, config)?;
                runledger::server::serve(&app, listener, std::future::pending()).await?;
                Ok(())
            }
        }
    })
}
