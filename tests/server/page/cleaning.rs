//! Clean-up: what would go, a confirmation, and what went.

use runledger::server::{Rates, Scope};

use super::super::Site;
use super::story;

#[test]
fn nothing_is_dropped_before_it_is_confirmed() {
    let site = Site::new();
    story(&site);
    let browser = site.browser(&site.token("ann", &[Scope::Read, Scope::Cleanup], &[]));
    let shown = browser.page("/segments");
    assert!(shown.contains("errors/") && !shown.contains("Drop it"));
    // What it lost is for an administrator.
    assert!(!shown.contains("What was lost"));
    assert!(site.browser_of_admin().page("/segments").contains("What was lost"));

    let dry = browser.page("/segments?days=1&kind=error&status=");
    assert!(dry.contains("Dry run: errors older than 1 day") && dry.contains("Drop it"), "{dry}");
    assert_eq!(site.ledger.query().count().unwrap(), 7, "a dry run drops nothing");
    let word = browser.word("/segments");
    let done = browser.send("/segments", &format!("form={word}&days=1&kind=error"), &[]);
    assert_eq!(done.status.as_u16(), 200, "{}", done.text());
    assert!(done.text().contains("Done: errors older than 1 day"));
    assert_eq!(site.ledger.query().count().unwrap(), 4);
    let none = browser.page("/segments?days=1&kind=error");
    assert!(none.contains("Nothing would go"), "{none}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let site = Site::new();
    let browser = site.browser_of_admin();
    for path in ["/segments?status=failed", "/segments?days=1&status=failed&kind=event"] {
        assert_eq!(browser.get(path).status.as_u16(), 400, "{path}");
    }
    let word = browser.word("/segments");
    let nothing = browser.send("/segments", &format!("form={word}"), &[]);
    assert_eq!(nothing.status.as_u16(), 400);
}

#[test]
fn looking_is_not_counted_as_cleaning() {
    let rates = Rates { per_address: 0, per_user: 0, cleanups: 1 };
    let site = Site::with(|config| config.rates = rates);
    let browser = site.browser_of_admin();
    for _ in 0..5 {
        browser.page("/segments?days=1");
    }
    let word = browser.word("/segments");
    let clean = || browser.send("/segments", &format!("form={word}&days=1"), &[]);
    let told: Vec<_> = (0..4).map(|_| clean()).collect();
    assert_eq!(told.iter().filter(|answer| answer.status.as_u16() == 200).count(), 2);
    assert!(!told[3].header("retry-after").is_empty());
}
