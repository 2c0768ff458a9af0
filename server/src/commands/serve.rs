//! `odori serve` and `odori demo`.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use odori_engine::audio::{PcmFormat, PcmParser};

use crate::cli::ServeArgs;
use crate::engine::Engine;
use crate::http::{App, serve};
use crate::intake::LiveSound;
use crate::library::Library;
use crate::rtc::RtcSettings;
use crate::session::Sessions;

fn read_files(paths: &[std::path::PathBuf], limit: usize) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    paths
        .iter()
        .map(|path| {
            let shown = path.display().to_string();
            let size = std::fs::metadata(path).with_context(|| format!("{shown} cannot be opened"))?.len();
            if size > limit as u64 {
                bail!("{shown} is {} MB; at most {} MB are read", size >> 20, limit >> 20);
            }
            let bytes = std::fs::read(path).with_context(|| format!("{shown} cannot be read"))?;
            let name = path.file_stem().unwrap_or(Path::new("unnamed").as_os_str()).to_string_lossy().into_owned();
            Ok((name, bytes))
        })
        .collect()
}

/// Reads raw sound from standard input on a thread of its own until it ends.
fn listen_to_stdin(format: PcmFormat) -> anyhow::Result<Arc<LiveSound>> {
    let sound = Arc::new(LiveSound::new(format.rate_hz, format.channels)?);
    let sink = Arc::clone(&sound);
    std::thread::Builder::new().name("odori-stdin".into()).spawn(move || {
        let mut parser = PcmParser::new(format);
        let mut bytes = vec![0; 16 * 1024];
        let mut samples = Vec::new();
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut bytes) {
                Ok(0) => return tracing::info!("standard input ended; the dancer hears silence"),
                Ok(n) => {
                    samples.clear();
                    parser.push(&bytes[..n], &mut samples);
                    sink.push(&samples);
                }
                Err(e) => return tracing::error!(error = %e, "standard input broke"),
            }
        }
    })?;
    Ok(sound)
}

fn open_browser(url: &str) {
    for opener in ["xdg-open", "open"] {
        let started = std::process::Command::new(opener)
            .arg(url)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        if started.is_ok() {
            return;
        }
    }
}

async fn stopped() {
    let ctrl_c = tokio::signal::ctrl_c();
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = ctrl_c => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = ctrl_c.await;
}

/// # Errors
/// If the port is taken, a file cannot be read, or the engine cannot be set up.
pub fn run(args: &ServeArgs, open: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run_async(args, open))
}

async fn run_async(args: &ServeArgs, open: bool) -> anyhow::Result<()> {
    let address = SocketAddr::new(args.bind, args.port);
    // First of all: a busy port should not cost the time of reading models.
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| match args.port {
        0 => format!("cannot listen on {address}"),
        port => format!("cannot listen on {address}: another program (perhaps another odori) may use port {port}; choose one with --port"),
    })?;
    let address = listener.local_addr()?;
    let token = match (&args.token, args.bind.is_loopback()) {
        (Some(token), _) if token.len() < 16 => bail!("the token is too short: use 16 characters or more"),
        (Some(token), _) => Some(token.clone()),
        (None, true) => None,
        (None, false) => Some(crate::session::name()),
    };
    let engine = Arc::new(Engine::open(&args.engine.options())?);
    tracing::info!(compute = engine.backend_name(), reason = %engine.reason, draw = %engine.drawer_description()?, "engine ready");
    let avatars = read_files(&args.avatar, crate::library::MAX_AVATAR_BYTES)?;
    let songs = read_files(&args.song, crate::library::MAX_SONG_BYTES)?;
    let library = Arc::new(Library::open(avatars, songs)?);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let max = args.max_sessions.unwrap_or((cores / 2).max(1)).clamp(1, 64);
    let stdin = args.stdin_pcm.map(listen_to_stdin).transpose()?;
    let rtc = RtcSettings { ip: args.bind, udp_ports: args.udp_ports.clone() };
    let sessions = Sessions::new(engine, library, rtc, max, stdin);
    let app = Arc::new(App { sessions, token: token.clone(), bound: args.bind, allowed_origins: args.allow_origin.clone() });
    let shown = if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() };
    let url = match &token {
        Some(token) => format!("http://{shown}/?token={token}"),
        None => format!("http://{shown}/"),
    };
    println!("Odori is ready: {url}");
    println!("Press Ctrl-C to stop.");
    if open && !args.no_open {
        open_browser(&url);
    }
    let server = tokio::spawn(serve(listener, app, stopped()));
    stopped().await;
    // Event streams never end by themselves: give requests a moment, then go.
    match tokio::time::timeout(std::time::Duration::from_millis(700), server).await {
        Ok(result) => Ok(result??),
        Err(_) => Ok(()),
    }
}
