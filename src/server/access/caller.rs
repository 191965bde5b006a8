//! Who asks, let in by the scope that a route needs.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;

use crate::ledger::Ledger;
use crate::server::access::{Access, Failure, Pen, View};
use crate::server::access_log::Who;
use crate::server::app::App;
use crate::server::auth::Scope;
use crate::server::pool::Job;
use crate::server::problem::{Kind, Problem};

/// A scope that a route needs, as a type: a handler that asks for a `Caller<Write>` runs only for
/// who has it.
pub(in crate::server) trait Need: Send + Sync + 'static {
    const SCOPE: Scope;
}

/// Needs the scope `read`.
pub(in crate::server) struct Read;
/// Needs the scope `write`.
pub(in crate::server) struct Write;

/// Needs the scope `cleanup`.
pub(in crate::server) struct Clean;
/// Needs the scope `admin`.
pub(in crate::server) struct Admin;

/// A scope that lets its bearer look after the ledger as a whole.
pub(in crate::server) trait Tends: Need {}

impl Tends for Clean {}
impl Tends for Admin {}

impl Need for Clean {
    const SCOPE: Scope = Scope::Cleanup;
}

impl Need for Admin {
    const SCOPE: Scope = Scope::Admin;
}

impl Need for Read {
    const SCOPE: Scope = Scope::Read;
}

impl Need for Write {
    const SCOPE: Scope = Scope::Write;
}

/// Who asks, let in for this scope.
pub(in crate::server) struct Caller<N> {
    app: App,
    access: Arc<Access>,
    need: PhantomData<N>,
}

impl<N: Need> FromRequestParts<App> for Caller<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let access = Arc::new(app.gate().admit(&parts.method, &parts.headers)?);
        count(app, &parts.extensions, &access)?;
        Self::admitted(app, access)
    }
}

/// Notes whose a request is that carries this, and counts it among theirs.
///
/// # Errors
/// A problem when they have asked too often.
pub(in crate::server) fn count(
    app: &App,
    request: &Extensions,
    access: &Access,
) -> Result<(), Problem> {
    if let Some(who) = request.get::<Who>() {
        who.is(access.name());
    }
    app.limits().user(access.name())
}

impl<N: Need> Caller<N> {
    /// One who was let in already, when that includes this scope.
    pub(in crate::server) fn admitted(app: &App, access: Arc<Access>) -> Result<Self, Problem> {
        if !access.may(N::SCOPE) {
            let detail = format!("this needs the scope {:?}", N::SCOPE.name());
            return Err(Problem::new(Kind::Scope, detail));
        }
        Ok(Self { app: app.clone(), access, need: PhantomData })
    }
}

impl<N> Caller<N> {
    /// For how long the caller is let in yet; `None` for ever.
    pub(in crate::server) fn expires_in(&self) -> Option<Duration> {
        self.access.expires_in()
    }

    /// Returns once the key counts no more that let the caller in.
    pub(in crate::server) async fn disowned(&self) {
        self.access.disowned().await;
    }
}

impl Caller<Clean> {
    /// Counts a clean-up among the caller's.
    ///
    /// # Errors
    /// A problem when it has cleaned up too often.
    pub(in crate::server) fn count_cleanup(&self) -> Result<(), Problem> {
        self.app.limits().cleanup(self.access.name())
    }
}

impl Caller<Read> {
    /// Looks at the ledger, off the threads that serve connections.
    pub(in crate::server) async fn look<R: Send + 'static>(
        &self,
        work: impl FnOnce(&View<'_>) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Problem> {
        let (store, access) = (self.app.store(), Arc::clone(&self.access));
        self.app
            .pool()
            .run(move || {
                let view = View { ledger: &store.ledger, access: &access };
                work(&view).map_err(|failure| failure.told(&access))
            })
            .await?
    }
}

impl Caller<Write> {
    /// Writes little to the ledger, and nothing that has to be synced: on this thread, if others
    /// are left to serve connections meanwhile.
    pub(in crate::server) async fn write_here<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Pen<'_>) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Problem> {
        self.app.pool().run_quick(self.with_pen(work)).await?
    }

    /// Writes to the ledger, off the threads that serve connections.
    pub(in crate::server) async fn write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Pen<'_>) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Problem> {
        self.start_write(work).await?.end().await?
    }

    /// Begins to write to the ledger, off the threads that serve connections.
    pub(in crate::server) async fn start_write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Pen<'_>) -> Result<R, Failure> + Send + 'static,
    ) -> Result<Job<Result<R, Problem>>, Problem> {
        self.app.pool().start(self.with_pen(work)).await
    }

    fn with_pen<R, W>(&self, work: W) -> impl FnOnce() -> Result<R, Problem> + use<R, W>
    where
        W: FnOnce(&Pen<'_>) -> Result<R, Failure>,
    {
        let (store, access) = (self.app.store(), Arc::clone(&self.access));
        move || {
            let pen = Pen { store: &store, access: &access };
            work(&pen).map_err(|failure| failure.told(&access))
        }
    }
}

impl<N: Tends> Caller<N> {
    /// Looks after the ledger, off the threads that serve connections. What is told of it is of
    /// segments, never of records.
    pub(in crate::server) async fn tend<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Problem> {
        let (store, access) = (self.app.store(), Arc::clone(&self.access));
        let work = move || work(&store.ledger).map_err(|failure| failure.told(&access));
        self.app.pool().run(work).await?
    }
}
