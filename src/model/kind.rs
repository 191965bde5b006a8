use std::fmt;

use crate::error::{Error, Result};

/// Declares an enum whose variants have a stored number and a name.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $what:literal, {
        $($(#[$vdoc:meta])* $variant:ident = $code:literal, $text:literal $(| $alias:literal)*;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All values, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name, as it stands in JSON and on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The number it is stored as.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The value stored as this number, if there is one.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($text $(| $alias)* => Ok(Self::$variant),)*
                    _ => Err(Error::invalid($what, text, concat!("one of:" $(, " ", $text)*))),
                }
            }
        }
    };
}

named! {
    /// The three kinds of record.
    Kind, "kind", {
        /// A state of an automation run.
        Run = 1, "run";
        /// Something that happened.
        Event = 2, "event";
        /// Something that went wrong.
        Error = 3, "error";
    }
}

named! {
    /// The state of a run.
    ///
    /// `pending` and `running` are open, all others terminal. A run may begin with any status.
    Status, "status", {
        /// Accepted, not begun.
        Pending = 1, "pending";
        /// Begun, not ended.
        Running = 2, "running";
        /// Ended as intended.
        Success = 3, "success";
        /// Ended in an error.
        Failed = 4, "failed";
        /// Not done, on purpose.
        Skipped = 5, "skipped";
        /// Stopped from outside.
        Cancelled = 6, "cancelled";
        /// Its process is gone; set by the engine alone.
        Abandoned = 7, "abandoned";
    }
}

impl Status {
    /// True for the statuses that end a run.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

named! {
    /// How bad it is. The numbers are those of OpenTelemetry's log data model.
    ///
    /// Events carry any of these; errors `warning`, `error` or `critical`.
    Severity, "severity", {
        /// Finer than debug.
        Trace = 1, "trace";
        /// For developers.
        Debug = 5, "debug";
        /// As expected.
        Info = 9, "info" | "information";
        /// Not as expected, and yet not failed.
        Warning = 13, "warning" | "warn";
        /// Failed.
        Error = 17, "error";
        /// Failed, and more will.
        Critical = 21, "critical" | "fatal";
    }
}

named! {
    /// Who caused an event.
    ActorType, "actor_type", {
        /// A person, named by `actor_id`.
        User = 1, "user";
        /// The automation itself.
        System = 2, "system";
    }
}
