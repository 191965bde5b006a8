//! The subcommands, one file each.

use clap::Subcommand;

use crate::context::Context;
use crate::exit::{Failure, Outcome};

mod query;

/// Declares the modules, the enum that clap parses into, and the way from there to each `run`.
macro_rules! commands {
    ($($(#[$when:meta])? $module:ident $name:ident;)*) => {
        $($(#[$when])? mod $module;)*

        /// What to do, in the order of the help.
        #[derive(Subcommand)]
        pub(crate) enum Command { $($(#[$when])? $name($module::Args),)* }

        impl Command {
            /// Does it.
            pub(crate) fn run(&self, ctx: &Context) -> Result<Outcome, Failure> {
                match self { $($(#[$when])? Self::$name(args) => $module::run(args, ctx),)* }
            }
        }
    };
}

commands! {
    runs Runs;
    events Events;
    errors Errors;
    groups Groups;
    show Show;
    trace Trace;
    diff Diff;
    tail Tail;
    values Values;
    stats Stats;
    history History;
    import Import;
    merge Merge;
    append Append;
    exec Exec;
    expect Expect;
    check Check;
    export Export;
    cleanup Cleanup;
    compact Compact;
    erase Erase;
    cleanup_status CleanupStatus;
    retention Retention;
    why_kept WhyKept;
    pin Pin;
    pins Pins;
    unpin Unpin;
    verify Verify;
    checkpoint Checkpoint;
    repair Repair;
    dump Dump;
    demo Demo;
    #[cfg(feature = "server")]
    serve Serve;
    #[cfg(feature = "server")]
    token Token;
    completions Completions;
    man Man;
}
