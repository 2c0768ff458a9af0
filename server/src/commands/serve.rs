//! `odori serve` and `odori demo`: opens the doors, says where, and closes them in order.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use odori_engine::audio::{Downmix, Intake, PcmFormat, PcmParser};
use tokio::net::TcpListener;

use crate::cli::ServeArgs;
use crate::http::{App, Guard, router};
use crate::live::{Calibration, Engine};
use crate::rtc::RtcNet;
use crate::rtc::ports::PortPool;
use crate::session::queue::SoundQueue;
use crate::session::registry::Sessions;
use crate::session::run::FPS;
use crate::session::sound::LIVE_ROOM;
use crate::session::{Shared, SourceChoice, secret_id};

/// A server that listens and is not yet being served.
pub struct Server {
    pub listener: TcpListener,
    pub address: SocketAddr,
    pub sessions: Arc<Sessions>,
    pub guard: Arc<Guard>,
}

/// Opens the port and makes everything that serves it.
///
/// # Errors
/// If the port is taken or standard input cannot be read.
pub async fn open(engine: Arc<Engine>, args: &ServeArgs) -> anyhow::Result<Server> {
    open_with(engine, args, None).await
}

/// The same, with `fed` in the place of standard input.
///
/// # Errors
/// As [`open`].
pub async fn open_with(engine: Arc<Engine>, args: &ServeArgs, fed: Option<Arc<SoundQueue>>) -> anyhow::Result<Server> {
    let listener = TcpListener::bind((args.bind, args.port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("port {} is in use: another odori, or another program, listens there. End it, or choose another with --port (0 takes a free one)", args.port)
        }
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!("not allowed to listen on port {}: choose one above 1023 with --port", args.port),
        std::io::ErrorKind::AddrNotAvailable => anyhow::anyhow!("{} is not an address of this machine: see --bind", args.bind),
        _ => anyhow::Error::from(error).context("cannot listen"),
    })?;
    let address = listener.local_addr()?;
    let stdin = match (fed, args.stdin_pcm) {
        (None, Some(format)) => Some(read_stdin(format)?),
        (fed, _) => fed,
    };
    let token = match &args.token {
        Some(token) if token.len() < 8 => bail!("the token must have at least 8 characters"),
        Some(token) if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)) => {
            bail!("the token may have letters, digits and - _ . ~ only: it also travels in links")
        }
        Some(token) => Some(token.clone()),
        None if !args.bind.is_loopback() => Some(secret_id()),
        None => None,
    };
    let guard = Guard { token, loopback_only: args.bind.is_loopback(), origins: args.allow_origins.clone() };
    let shared = Shared {
        engine,
        net: RtcNet {
            ip: args.media_bind.unwrap_or(args.bind),
            ports: PortPool::new(args.udp_ports.clone()),
            ice_tcp: args.ice_tcp,
            ice_servers: args.ice_servers.clone(),
        },
        max_bitrate_bps: args.max_bitrate * 1000,
        max_viewers: args.max_viewers,
        stdin,
        meters: Arc::default(),
    };
    let calibration = measure(&shared.engine).await;
    let max_live = args.max_sessions.unwrap_or_else(|| capacity(calibration.as_ref())).max(1);
    let sessions = Sessions::new(shared, max_live, calibration.map(|c| c.best));
    Ok(Server { listener, address, sessions, guard: Arc::new(guard) })
}

/// What a session costs here, if it can be measured.
async fn measure(engine: &Arc<Engine>) -> Option<Calibration> {
    let engine = engine.clone();
    match tokio::task::spawn_blocking(move || engine.calibrate()).await {
        Ok(Ok(calibration)) => calibration,
        Ok(Err(error)) => {
            tracing::warn!(%error, "what a session costs could not be measured");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "what a session costs could not be measured");
            None
        }
    }
}

/// Of all cores' time: what sessions may take. The rest is for the network, sound, and frames that are dearer than others.
const SESSIONS_SHARE: f64 = 0.6;

/// Sessions that this machine carries; half its cores where a session could not be measured.
fn capacity(calibration: Option<&Calibration>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let Some(calibration) = calibration else { return cores / 2 };
    let frame_s = calibration.frame_cpu.as_secs_f64();
    let most = (cores as f64 * SESSIONS_SHARE / (frame_s * f64::from(FPS)).max(1e-6)) as usize;
    tracing::info!(sessions = most, frame_cpu_ms = frame_s * 1e3, "what this machine carries");
    most
}

impl Server {
    /// Where a browser finds it.
    pub fn url(&self) -> String {
        let host = match self.address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            ip if ip.is_ipv6() => format!("[{ip}]"),
            ip => ip.to_string(),
        };
        let token = self.guard.token.as_ref().map(|t| format!("/?token={t}")).unwrap_or_default();
        format!("http://{host}:{}{token}", self.address.port())
    }

    /// Serves until `end`, then closes all sessions.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(self, end: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let app = App { sessions: self.sessions.clone(), guard: self.guard };
        let tidy = tokio::spawn(self.sessions.clone().keep_tidy());
        let sessions = self.sessions.clone();
        // Sessions close first: event streams end with them, and open requests do not hold the server up.
        let ending = async move {
            end.await;
            sessions.close().await;
        };
        axum::serve(self.listener, router(app)).with_graceful_shutdown(ending).await.context("the server failed")?;
        tidy.abort();
        self.sessions.close().await;
        Ok(())
    }
}

/// The whole command.
///
/// # Errors
/// If it cannot serve; the message says what to do.
pub async fn run(engine: Arc<Engine>, args: &ServeArgs, open_browser: bool) -> anyhow::Result<()> {
    let server = open(engine, args).await?;
    let url = server.url();
    eprintln!("The studio is at {url}");
    if args.stdin_pcm.is_some() {
        let session = server.sessions.make(true)?;
        session.choose(SourceChoice::Stdin {})?;
        server.sessions.start(&session).await?;
        let token = server.guard.token.as_ref().map(|t| format!("?token={t}")).unwrap_or_default();
        eprintln!("Standard input dances at http://{}/overlay/{}{token}", server.address, session.id);
    }
    if open_browser {
        browse(&url);
    }
    server.serve(shutdown()).await
}

/// Ctrl-C, or being told to end.
async fn shutdown() {
    let interrupt = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! { () = interrupt => {}, () = terminate => {} }
}

/// Opens a browser if there is one; the address was printed in any case.
fn browse(url: &str) {
    let opener = if cfg!(target_os = "macos") { "open" } else if cfg!(windows) { "explorer" } else { "xdg-open" };
    let quiet = std::process::Stdio::null;
    let _ = std::process::Command::new(opener).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}

/// Reads standard input on a thread of its own, no faster than it is played.
fn read_stdin(format: PcmFormat) -> anyhow::Result<Arc<SoundQueue>> {
    let queue = Arc::new(SoundQueue::new(LIVE_ROOM));
    let mut intake = Intake::new(format.rate_hz, Downmix::from_count(format.channels)?)?;
    let into = queue.clone();
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut parser = PcmParser::new(format);
        let (mut bytes, mut samples, mut listen, mut model) = (vec![0; 8192], Vec::new(), Vec::new(), Vec::new());
        let mut input = std::io::stdin().lock();
        loop {
            match input.read(&mut bytes) {
                Ok(0) => break,
                Ok(n) => {
                    samples.clear();
                    listen.clear();
                    model.clear();
                    parser.push(&bytes[..n], &mut samples);
                    intake.push(&samples, &mut listen, &mut model);
                    // In pieces that fit under the limit at which live sound is trimmed: a pipe is patient.
                    for piece in listen.chunks(960) {
                        if !into.push_waiting_below(piece, LIVE_ROOM / 4) {
                            return;
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "standard input could not be read further");
                    break;
                }
            }
        }
        if let Err(error) = parser.finish() {
            tracing::warn!(%error, "standard input ended oddly");
        }
    })?;
    Ok(queue)
}
