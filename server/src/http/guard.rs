//! Who may ask: the host and origin of a request, and its token. Runs before every handler.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::{App, Fault};

/// The rules.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Asked of every request if set.
    pub token: Option<String>,
    /// Only names of this machine are taken as `Host`: another name means that a foreign page resolved its own to us.
    pub loopback_only: bool,
    /// Origins allowed besides our own, such as `https://example.org`; `*` allows all.
    pub origins: Vec<String>,
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or("");
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_local(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Guard {
    fn host_ok(&self, host: &str) -> bool {
        !self.loopback_only || is_local(host_name(host))
    }

    /// Own pages come from the same host and port as the request goes to.
    fn origin_ok(&self, origin: &str, host: &str) -> bool {
        let own = origin.split_once("://").is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest.eq_ignore_ascii_case(host));
        own || self.origins.iter().any(|o| o == "*" || o.eq_ignore_ascii_case(origin))
    }

    fn token_ok(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        let Some(token) = &self.token else { return true };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        let given = bearer.or_else(|| query?.split('&').find_map(|p| p.strip_prefix("token=")));
        given.is_some_and(|g| bool::from(g.as_bytes().ct_eq(token.as_bytes())))
    }
}

fn cors(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("location, link, etag, accept-patch"));
}

/// Refuses foreign hosts and origins; answers preflights; exposes headers to those allowed.
pub async fn origin(State(app): State<App>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).map(str::to_owned);
    let host = host.or_else(|| request.uri().authority().map(|a| a.to_string())).unwrap_or_default();
    if !app.guard.host_ok(&host) {
        let text = format!("\"{host}\" is not a name of this machine; use 127.0.0.1 or localhost, or bind to an address with --bind and a --token");
        return Fault(StatusCode::FORBIDDEN, text).into_response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    if let Some(origin) = &origin
        && !origin.to_str().is_ok_and(|o| app.guard.origin_ok(o, &host))
    {
        return Fault(StatusCode::FORBIDDEN, "pages of another site may not use this server; allow them with --allow-origin".into()).into_response();
    }
    let preflight = request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        cors(headers, &origin);
        if preflight {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type, if-match"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Refuses requests without the token.
pub async fn token(State(app): State<App>, request: Request, next: Next) -> Response {
    // What OPTIONS tells is no secret, and discovery comes before a client knows that it needs a token.
    if request.method() != Method::OPTIONS && !app.guard.token_ok(request.headers(), request.uri().query()) {
        let fault = Fault(StatusCode::UNAUTHORIZED, "this server needs its token: Authorization: Bearer TOKEN, or ?token=TOKEN".into());
        return ([(header::WWW_AUTHENTICATE, "Bearer")], fault).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        let guard = Guard { loopback_only: true, ..Guard::default() };
        for good in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "127.9.9.9"] {
            assert!(guard.host_ok(good), "{good}");
        }
        for bad in ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil:80", "192.168.0.2:80"] {
            assert!(!guard.host_ok(bad), "{bad}");
        }
    }

    #[test]
    fn own_and_listed_origins_are_allowed() {
        let guard = Guard { origins: vec!["https://example.org".into()], ..Guard::default() };
        assert!(guard.origin_ok("http://localhost:8080", "localhost:8080"));
        assert!(guard.origin_ok("https://example.org", "localhost:8080"));
        for bad in ["null", "http://localhost:8081", "https://example.org.evil", "file://localhost:8080"] {
            assert!(!guard.origin_ok(bad, "localhost:8080"), "{bad}");
        }
    }

    #[test]
    fn the_token_comes_by_header_or_query() {
        let guard = Guard { token: Some("secret".into()), ..Guard::default() };
        let mut headers = HeaderMap::new();
        assert!(!guard.token_ok(&headers, None));
        assert!(guard.token_ok(&headers, Some("alpha=packed&token=secret")));
        assert!(!guard.token_ok(&headers, Some("token=secre")));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        assert!(guard.token_ok(&headers, None));
    }
}
