//! All sessions of the server: made, found, admitted to be live, and removed when nobody uses them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use odori_engine::ladder::Rung;

use super::{Session, SessionError, Shared};

/// Sessions that exist, live or not.
const MAX_MADE: usize = 64;
/// Nobody watches, sends or asks: a live one stops, and later it is removed.
const STOP_AFTER: Duration = Duration::from_secs(60);
const REMOVE_AFTER: Duration = Duration::from_secs(600);
const TIDY_EVERY: Duration = Duration::from_secs(10);

pub struct Sessions {
    pub shared: Arc<Shared>,
    /// Sessions that may be live at once: more would make all of them late.
    max_live: usize,
    /// The rung that frames are made on while there is time, if it is known.
    best: Option<Rung>,
    all: Mutex<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    pub fn new(shared: Shared, max_live: usize, best: Option<Rung>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::new(shared), max_live, best, all: Mutex::default() })
    }

    pub fn max_live(&self) -> usize {
        self.max_live
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.all.lock().expect("no panic while held")
    }

    /// # Errors
    /// If too many exist.
    pub fn make(&self, pinned: bool) -> Result<Arc<Session>, SessionError> {
        let mut all = self.all();
        if all.len() >= MAX_MADE {
            return Err(SessionError::Full(format!("{MAX_MADE} sessions exist already; close some, or wait until idle ones are removed")));
        }
        let session = Session::new(self.shared.clone(), pinned)?;
        all.insert(session.id.clone(), session.clone());
        Ok(session)
    }

    /// # Errors
    /// If there is none of that id.
    pub fn get(&self, id: &str) -> Result<Arc<Session>, SessionError> {
        let session = self.all().get(id).cloned().ok_or(SessionError::NoSession)?;
        session.touch();
        Ok(session)
    }

    pub fn list(&self) -> Vec<Arc<Session>> {
        self.all().values().cloned().collect()
    }

    /// Whether one more may be live; why not.
    fn admit(&self) -> Result<(), String> {
        let live: Vec<_> = self.list().into_iter().filter(|s| s.is_live()).collect();
        if live.len() >= self.max_live {
            let most = self.max_live;
            return Err(format!("{} of {most} sessions are live, as many as this machine carries without falling behind; stop one, or raise --max-sessions", live.len()));
        }
        // What was measured at the start does not know what else the machine does now. A session that nobody watches makes
        // no pictures, and says nothing about it.
        let now = Instant::now();
        let short = live.iter().filter(|s| s.stats.fps(now) > 0.0).filter_map(|s| s.stats.rung()).find(|r| self.best.is_some_and(|best| *r > best));
        match short {
            Some(rung) => Err(format!("the sessions that are live are short of time already (one is at {}); stop one, or end other work on this machine", rung.name())),
            None => Ok(()),
        }
    }

    /// Starts a session if there is room for it to be live.
    ///
    /// # Errors
    /// If there is no room, or it cannot start.
    pub async fn start(&self, session: &Arc<Session>) -> Result<(), SessionError> {
        if !session.is_live()
            && let Err(reason) = self.admit()
        {
            self.shared.meters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(SessionError::Full(reason));
        }
        session.start().await
    }

    /// # Errors
    /// If there is none of that id.
    pub async fn remove(&self, id: &str) -> Result<(), SessionError> {
        let session = self.all().remove(id).ok_or(SessionError::NoSession)?;
        session.close().await;
        Ok(())
    }

    /// Ends all sessions.
    pub async fn close(&self) {
        let all: Vec<_> = self.all().drain().map(|(_, s)| s).collect();
        for session in all {
            session.close().await;
        }
    }

    async fn tidy(&self, now: Instant) {
        for session in self.list() {
            let unused = session.unused_for(now);
            if unused > REMOVE_AFTER {
                let _ = self.remove(&session.id).await;
            } else if unused > STOP_AFTER && session.is_live() {
                session.stop();
            }
        }
    }

    /// Removes unused sessions for as long as the server runs.
    pub async fn keep_tidy(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            self.tidy(Instant::now()).await;
        }
    }
}
