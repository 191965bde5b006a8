//! Bugs for the project's own tests, in builds that have them.

use crate::exit::Failure;

/// Plants the bug that the environment names.
#[cfg(feature = "planted-bugs")]
pub(crate) fn plant() -> Result<(), Failure> {
    use runledger::planted::{Bug, plant};

    let Some(name) = std::env::var_os("RUNLEDGER_PLANT") else { return Ok(()) };
    let bug = Bug::ALL.iter().find(|bug| name == *format!("{bug:?}"));
    let unknown = || Failure::Usage(format!("there is no such bug; there are {:?}", Bug::ALL));
    plant(*bug.ok_or_else(unknown)?);
    Ok(())
}

/// There is none to be planted.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn plant() -> Result<(), Failure> {
    Ok(())
}
