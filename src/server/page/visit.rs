//! Who looks at a page, and how it is to be shown.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::model::Timestamp;
use crate::server::access::{self, Access, Caller, Clean, Failure, Need, Read, View};
use crate::server::app::App;
use crate::server::auth::Scope;
use crate::server::page::frame::Frame;
use crate::server::page::preferences::Preferences;
use crate::server::page::session;
use crate::server::page::shown::Clock;
use crate::server::problem::Problem;
use crate::storage::{Disk, Storage};

/// One who is let in.
pub(super) struct Visit {
    pub(super) app: App,
    pub(super) access: Arc<Access>,
    pub(super) preferences: Preferences,
    pub(super) clock: Clock,
    /// What forms are bound to: the token, or nothing where none is asked for.
    pub(super) session: String,
    /// The path and the words that were asked for.
    pub(super) place: String,
}

impl FromRequestParts<App> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = session::cookie(&parts.headers, &session::name(&parts.headers));
        let token = token.unwrap_or_default();
        let access = app.gate().admit_by(&parts.headers, || Ok(token))?;
        access::count(app, &parts.extensions, &access)?;
        let preferences = Preferences::of(&parts.headers);
        let now = Self::now();
        Ok(Self {
            access: Arc::new(access),
            clock: Clock::new(now, preferences.zone.clone()),
            preferences,
            session: if app.gate().asks() { token.to_owned() } else { String::new() },
            place: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            app: app.clone(),
        })
    }
}

impl Visit {
    /// What time it is.
    pub(super) fn now() -> Timestamp {
        Timestamp::from_nanos(Disk.now())
    }

    /// One with this scope.
    pub(super) fn caller<N: Need>(&self) -> Result<Caller<N>, Problem> {
        Caller::admitted(&self.app, Arc::clone(&self.access))
    }

    /// Looks at the ledger.
    pub(super) async fn look<R: Send + 'static>(
        &self,
        work: impl FnOnce(&View<'_>) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Problem> {
        self.caller::<Read>()?.look(work).await
    }

    /// Looks after the ledger.
    pub(super) async fn tend<R: Send + 'static>(
        &self,
        work: impl FnOnce(&crate::ledger::Ledger) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Problem> {
        self.caller::<Clean>()?.tend(work).await
    }

    /// True when it may look after the ledger.
    pub(super) fn may_clean(&self) -> bool {
        self.access.may(Scope::Cleanup)
    }

    /// What stands around a page with this title, in this section of the site.
    pub(super) fn frame(&self, title: impl Into<String>, section: &'static str) -> Frame {
        let user = Some(self.access.name()).filter(|name| !name.is_empty());
        Frame {
            title: title.into(),
            section,
            form: self.app.forms().word(&self.session),
            place: self.place.clone(),
            user: user.map(str::to_owned),
            may_read: self.access.may(Scope::Read),
            may_clean: self.may_clean(),
            ..Frame::plain(&self.preferences, self.clock.now())
        }
    }
}
