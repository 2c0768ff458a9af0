//! The browser's half: finds a Chromium, gives it a page that watches a session as anyone would, and takes in what the page
//! saw. No driver and no debugging port: the page reports by itself.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use serde::Deserialize;

use super::emulator::{Emulator, Profile};
use super::stand::{Live, Stand};

/// One frame as the page saw it; times in milliseconds since the meter's epoch.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Shown {
    pub tick: u32,
    pub clicks: u8,
    /// When the compositor meant it to be visible.
    pub at_ms: f64,
    /// When it was handed to the compositor.
    pub presented_ms: f64,
    pub change: f64,
}

#[derive(Debug, Deserialize)]
struct Batch {
    frames: Vec<Shown>,
    unread: u64,
    skipped: u64,
    clock_took_ms: f64,
    skew_ms: Option<f64>,
    freezes: u64,
    dropped: u64,
    buffer_ms: f64,
}

/// What the page has told so far.
#[derive(Clone, Debug, Default)]
pub struct Board {
    pub frames: Vec<Shown>,
    /// Picture less sound by the browser's own account of what it plays, once every quarter of a second: above nought the picture
    /// shown belongs to later sound than is heard.
    pub skews_ms: Vec<f64>,
    pub unread: u64,
    pub skipped: u64,
    pub freezes: u64,
    pub dropped: u64,
    pub buffer_ms: f64,
    /// Round trip of the best clock exchange: half of it bounds the error of every time here.
    pub clock_took_ms: f64,
    fault: Option<String>,
}

struct Desk {
    epoch: Instant,
    board: Mutex<Board>,
    /// What answers the page's offer.
    offers: tokio::sync::mpsc::Sender<(String, tokio::sync::oneshot::Sender<Result<String, String>>)>,
}

/// Where a Chromium is usually found.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "microsoft-edge"];
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|p| std::env::split_paths(&p).collect::<Vec<_>>());
    let folders: Vec<PathBuf> = on_path.collect();
    let fixed = ["/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium"].map(PathBuf::from);
    names.iter().flat_map(|n| folders.iter().map(move |f| f.join(n))).chain(fixed).find(|p| p.is_file())
}

pub const NO_BROWSER: &str = "no Chromium was found: the native viewer measures alone, and nothing confirms it. Install Chromium or Chrome, or name one with CHROMIUM=/path/to/it";

/// What `--version` says.
pub fn version(browser: &Path) -> String {
    let said = Command::new(browser).arg("--version").stderr(Stdio::null()).output().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    said.ok().filter(|s| !s.is_empty()).unwrap_or_else(|| browser.display().to_string())
}

/// A running browser that watches; ends when dropped.
pub struct Browser {
    child: Child,
    profile: PathBuf,
    desk: Arc<Desk>,
    server: tokio::task::JoinHandle<()>,
    pub relay: Option<Emulator>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.server.abort();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

async fn seen(State(desk): State<Arc<Desk>>, Json(batch): Json<Batch>) -> StatusCode {
    let mut board = desk.board.lock().expect("no panic while held");
    board.frames.extend(batch.frames);
    board.skews_ms.extend(batch.skew_ms);
    (board.unread, board.skipped, board.freezes, board.dropped) = (batch.unread, batch.skipped, batch.freezes, batch.dropped);
    (board.buffer_ms, board.clock_took_ms) = (batch.buffer_ms, batch.clock_took_ms);
    StatusCode::NO_CONTENT
}

async fn fault(State(desk): State<Arc<Desk>>, text: String) -> StatusCode {
    desk.board.lock().expect("no panic while held").fault.get_or_insert(text.chars().take(300).collect());
    StatusCode::NO_CONTENT
}

async fn clock(State(desk): State<Arc<Desk>>) -> String {
    format!("{:.4}", desk.epoch.elapsed().as_secs_f64() * 1e3)
}

async fn offer(State(desk): State<Arc<Desk>>, sdp: String) -> Result<String, (StatusCode, String)> {
    let (answer_in, answer) = tokio::sync::oneshot::channel();
    let gone = |_| (StatusCode::SERVICE_UNAVAILABLE, "the meter has ended".to_owned());
    desk.offers.send((sdp, answer_in)).await.map_err(|_| gone(()))?;
    answer.await.map_err(|_| gone(()))?.map_err(|e| (StatusCode::BAD_GATEWAY, e))
}

impl Browser {
    /// Starts `browser` on a page that watches the session; returns when it has shown frames.
    ///
    /// # Errors
    /// If it cannot be started, or shows nothing.
    pub async fn watch(browser: &Path, stand: &Stand, live: &Live, profile: &Profile, seed: u64, epoch: Instant) -> anyhow::Result<Self> {
        let (offers, mut asked) = tokio::sync::mpsc::channel(1);
        let desk = Arc::new(Desk { epoch, board: Mutex::default(), offers });
        let router = axum::Router::new()
            .route("/", get(async || Html(include_str!("page.html"))))
            .route("/clock", get(clock))
            .route("/offer", post(offer))
            .route("/seen", post(seen))
            .route("/fault", post(fault))
            .with_state(desk.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let folder = std::env::temp_dir().join(format!("odori-bench-{}", crate::session::secret_id()));
        let child = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required", "--window-size=1280,1100"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg(&url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", browser.display()))?;
        let mut this = Self { child, profile: folder, desk, server, relay: None };
        let wait = tokio::time::timeout(Duration::from_secs(30), asked.recv()).await;
        let Ok(Some((sdp, answer))) = wait else { bail!("{} did not open its page in 30 s", browser.display()) };
        let answered = stand.watch(&live.whep, &sdp, profile, seed).await;
        let told = match answered {
            Ok((sdp, relay)) => {
                this.relay = relay;
                Ok(sdp)
            }
            Err(error) => Err(format!("{error:#}")),
        };
        let _ = answer.send(told);
        let start = Instant::now();
        while this.board()?.frames.is_empty() {
            if start.elapsed() > Duration::from_secs(20) {
                bail!("the browser showed no frame with a time code in 20 s; {} could not be read", this.board()?.unread);
            }
            if let Some(status) = this.child.try_wait()? {
                bail!("{} ended with {status}", browser.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(this)
    }

    /// What the page has told so far.
    ///
    /// # Errors
    /// If something failed in the page.
    pub fn board(&self) -> anyhow::Result<Board> {
        let board = self.desk.board.lock().expect("no panic while held").clone();
        match &board.fault {
            Some(fault) => bail!("the browser's page failed: {fault}"),
            None => Ok(board),
        }
    }
}
