//! The access check that every request passes once: is it for this machine, are its credentials accepted, may the page
//! that sent it do this, and may its user.
//!
//! It returns a decision and counts denials. How a denial is answered is up to the endpoints.
#![forbid(unsafe_code)]

use hyper::http::request::Parts;

use super::authentication::{AuthError, Authenticator, Grant};
use super::client::Client;
use super::host::{Authority, HostError, HostPolicy};
use super::origin::{OriginClass, OriginPolicy};
use super::password::UserRole;
use crate::status::Counter;

/// What a request wants to do, as far as access to it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Something that reveals nothing of the cameras. Needs no credentials.
    Public,
    /// Log in or out. Needs no credentials, but no page of another site may do it.
    LogIn,
    /// Read something. A page of another site cannot see the answer.
    Read,
    /// Open a WebSocket, whose messages a page of another site could read.
    OpenWebSocket,
    /// The same in the protocol of the tutorial, whose pages come from servers of their own.
    OpenTutorialWebSocket,
    ChangeControl,
}

/// Why a request is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessDenied {
    Host(HostError),
    Credentials(AuthError),
    /// A page of this origin may not do it with the credentials of the browser.
    Origin(String),
    NotAdmin,
}

/// What was granted; `None` where no credentials were looked at.
pub(crate) type AccessDecision = Result<Option<Grant>, AccessDenied>;

/// What is counted about access. `/metrics` says what each counter means.
#[derive(Debug, Default)]
pub(crate) struct AccessCounters {
    pub(crate) unauthorized: Counter,
    pub(crate) throttled: Counter,
    pub(crate) busy: Counter,
    pub(crate) foreign_host: Counter,
    pub(crate) foreign_origin: Counter,
    pub(crate) not_admin: Counter,
}

/// Decides about every request.
#[derive(Debug)]
pub(crate) struct AccessCheck {
    hosts: HostPolicy,
    pub(crate) origins: OriginPolicy,
    pub(crate) authenticator: Authenticator,
    pub(crate) counters: AccessCounters,
}

impl AccessCheck {
    pub(crate) fn new(hosts: HostPolicy, origins: OriginPolicy, authenticator: Authenticator) -> Self {
        Self { hosts, origins, authenticator, counters: AccessCounters::default() }
    }

    /// Decides about a request, and counts a denial.
    pub(crate) async fn check(
        &self,
        request: &Parts,
        client: Client,
        operation: Operation,
    ) -> AccessDecision {
        self.decide(request, client, operation).await.inspect_err(|denied| self.count(denied))
    }

    /// Checks the host alone, for requests that are redirected. Fails with [`AccessDenied::Host`], which is counted.
    pub(crate) fn check_host(&self, request: &Parts) -> Result<(), AccessDenied> {
        let checked = self.hosts.check(request).map(drop).map_err(AccessDenied::Host);
        checked.inspect_err(|denied| self.count(denied))
    }

    async fn decide(&self, request: &Parts, client: Client, operation: Operation) -> AccessDecision {
        let host = self.hosts.check(request).map_err(AccessDenied::Host)?;
        if operation == Operation::Public {
            return Ok(None);
        }
        if operation == Operation::LogIn {
            return self.check_origin(request, host, client, operation).map(|()| None);
        }
        let grant = self.authenticator.authenticate(&request.headers, request.uri.query(), client).await;
        let grant = grant.map_err(AccessDenied::Credentials)?;
        if operation == Operation::Read {
            return Ok(Some(grant));
        }
        // A page of another site can make a browser send its cookies and passwords along. It cannot do so with a token
        // in the URL or in a Bearer header, as it does not know the token.
        if grant.credential.is_ambient() {
            self.check_origin(request, host, client, operation)?;
        }
        if operation == Operation::ChangeControl && grant.role < UserRole::Admin {
            return Err(AccessDenied::NotAdmin);
        }
        Ok(Some(grant))
    }

    fn check_origin(
        &self,
        request: &Parts,
        host: Option<Authority>,
        client: Client,
        operation: Operation,
    ) -> Result<(), AccessDenied> {
        // Pages written for the tutorial come from servers of their own. They may connect where everyone may.
        let is_tutorial = operation == Operation::OpenTutorialWebSocket && self.authenticator.is_open();
        match self.origins.classify(&request.headers, host.as_ref(), client.is_secure) {
            OriginClass::None | OriginClass::Allowed => Ok(()),
            OriginClass::Nearby(_) if is_tutorial => Ok(()),
            OriginClass::Nearby(origin) | OriginClass::Foreign(origin) => Err(AccessDenied::Origin(origin)),
        }
    }

    fn count(&self, denied: &AccessDenied) {
        let counter = match denied {
            AccessDenied::Host(_) => &self.counters.foreign_host,
            AccessDenied::Credentials(AuthError::Missing | AuthError::Wrong) => &self.counters.unauthorized,
            AccessDenied::Credentials(AuthError::Throttled(_)) => &self.counters.throttled,
            AccessDenied::Credentials(AuthError::Busy) => &self.counters.busy,
            AccessDenied::Origin(_) => &self.counters.foreign_origin,
            AccessDenied::NotAdmin => &self.counters.not_admin,
        };
        counter.add(1);
    }

    /// Checks a token or password from the login form. Fails with [`AuthError`], which is counted.
    pub(crate) async fn log_in(&self, secret: &[u8], client: Client) -> Result<UserRole, AuthError> {
        let checked = match secret {
            [] => Err(AuthError::Missing),
            secret => self.authenticator.check(secret, client.throttle_key).await,
        };
        checked.inspect_err(|error| self.count(&AccessDenied::Credentials(*error)))
    }
}
