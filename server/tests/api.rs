//! The API as `API.md` states it, over real sockets.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{args, engine, post, serve, wav};
use odori_server::commands::serve as command;
use serde_json::{Value, json};

async fn get(url: &str) -> (u16, Value) {
    let response = reqwest::get(url).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// Status events of a session for a while.
async fn events(url: &str, count: usize) -> Vec<Value> {
    let mut response = reqwest::get(url).await.unwrap();
    let mut text = String::new();
    let mut found = Vec::new();
    while found.len() < count {
        text += std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n") {
            if let Some(data) = event.strip_prefix("data: ") {
                found.push(serde_json::from_str(data).unwrap());
            }
            text = rest.to_owned();
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_made_changed_started_watched_and_removed() {
    let server = serve(&[]).await;
    let made = post(&format!("{}/api/sessions", server.base), json!({"energy": 0.5}), 201).await;
    let url = format!("{}/api/sessions/{}", server.base, made["id"].as_str().unwrap());
    assert_eq!(made["state"], "idle");
    assert_eq!(made["source"], json!({"kind": "song", "id": "sine", "loop": true}));
    assert_eq!(made["settings"]["energy"], 0.5);
    let client = reqwest::Client::new();
    let patched: Value = client.patch(&url).json(&json!({"background": "#102030", "framing": "half", "dancers": 2, "others": ["disc"], "seed": 7, "style": 1, "fps": 15, "target_ms": 80})).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        patched["settings"],
        json!({"background": "#102030", "framing": "half", "dancers": 2, "others": ["disc"], "seed": 7, "style": 1, "energy": 0.5, "hands": 0.0, "head": 0.0, "footwork": 0.0, "facing": 0.0, "pace": "normal", "fps": 15, "target_ms": 80})
    );
    assert_eq!(patched["fps"], 15);
    for bad in [json!({"energy": 2}), json!({"fps": 25}), json!({"target_ms": 5}), json!({"style": 9}), json!({"background": "red"}), json!({"background": "image"}), json!({"framing": "feet"}), json!({"dancers": 6}), json!({"dancers": 0}), json!({"others": ["disc", "disc", "disc", "disc", "disc"]}), json!({"others": ["nobody"]}), json!({"nothing": 1}), json!({"avatar": "nobody"})] {
        let response = client.patch(&url).json(&bad).send().await.unwrap();
        assert!(response.status().is_client_error(), "{bad}");
        assert!(response.json::<Value>().await.unwrap()["error"].is_string());
    }
    assert_eq!(post(&format!("{url}/start"), json!({}), 200).await["state"], "live");
    assert_eq!(post(&format!("{url}/start"), json!({}), 200).await["state"], "live");
    let seen = events(&format!("{url}/events"), 15).await;
    let last = seen.last().unwrap();
    assert_eq!(last["state"], "live");
    assert_eq!(last["beat"]["bpm"], 120.0);
    assert!((last["level_db"].as_f64().unwrap() + 15.3).abs() < 1.0, "{last}");
    assert!(last["media_s"].as_f64().unwrap() > 0.5);
    assert_eq!(post(&format!("{url}/stop"), json!({}), 200).await["state"], "idle");
    assert_eq!(client.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(get(&url).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_uploaded_to_dance_in_front_of_and_a_broken_one_changes_nothing() {
    let server = serve(&[]).await;
    let made = post(&format!("{}/api/sessions", server.base), json!({"background": "stage"}), 201).await;
    let url = format!("{}/api/sessions/{}", server.base, made["id"].as_str().unwrap());
    let upload = async |bytes: Vec<u8>| {
        let form = reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::bytes(bytes).file_name("there.png"));
        let response = reqwest::Client::new().post(format!("{url}/background")).multipart(form).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, answer) = upload(b"no picture".to_vec()).await;
    assert_eq!(status, 422);
    assert!(answer["error"].as_str().unwrap().contains("PNG"), "{answer}");
    assert_eq!(get(&url).await.1["settings"]["background"], "stage");
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbaImage::from_pixel(30, 20, image::Rgba([9, 80, 70, 255])).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let (status, answer) = upload(png.into_inner()).await;
    assert_eq!((status, &answer["settings"]["background"]), (200, &json!("image")));
    // It is kept while another background is shown.
    for background in ["transparent", "image"] {
        let patched: Value = reqwest::Client::new().patch(&url).json(&json!({"background": background})).send().await.unwrap().json().await.unwrap();
        assert_eq!(patched["settings"]["background"], background);
    }
    // However much is sent, the answer arrives whole, also where nothing of the body was wanted.
    for _ in 0..5 {
        let (status, answer) = upload(vec![0; 40 << 20]).await;
        assert_eq!(status, 413);
        assert_eq!(answer["error"], "the file is larger than 20 MB");
    }
    assert_eq!(reqwest::Client::new().delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(upload(vec![0; 40 << 20]).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_live_sessions_than_the_machine_carries_are_refused_with_the_reason() {
    let server = serve(&["--max-sessions", "1"]).await;
    let mut urls = Vec::new();
    for _ in 0..2 {
        let made = post(&format!("{}/api/sessions", server.base), json!({}), 201).await;
        urls.push(format!("{}/api/sessions/{}", server.base, made["id"].as_str().unwrap()));
    }
    post(&format!("{}/start", urls[0]), json!({}), 200).await;
    let refused = post(&format!("{}/start", urls[1]), json!({}), 503).await;
    assert!(refused["error"].as_str().unwrap().contains("--max-sessions"));
    post(&format!("{}/stop", urls[0]), json!({}), 200).await;
    post(&format!("{}/start", urls[1]), json!({}), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_dancer_ends_its_session_only() {
    let server = serve(&["--max-sessions", "4"]).await;
    let healthy = serve(&[]).await;
    let a = post(&format!("{}/api/sessions", server.base), json!({}), 201).await;
    let url = format!("{}/api/sessions/{}", server.base, a["id"].as_str().unwrap());
    post(&format!("{url}/start"), json!({}), 200).await;
    server.fail.store(true, Ordering::Relaxed);
    // A busy machine may take its time to draw the frame that fails.
    let mut last = Value::Null;
    for _ in 0..100 {
        last = events(&format!("{url}/events"), 1).await.remove(0);
        if last["state"] == "failed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(last["state"], "failed");
    assert!(last["error"].as_str().unwrap().contains("the dancer fell"));
    server.fail.store(false, Ordering::Relaxed);
    assert_eq!(post(&format!("{url}/start"), json!({}), 200).await["state"], "live");
    assert_eq!(get(&format!("{}/api/health", healthy.base)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn songs_are_uploaded_and_bad_ones_leave_the_old_source() {
    let server = serve(&[]).await;
    let made = post(&format!("{}/api/sessions", server.base), json!({}), 201).await;
    let url = format!("{}/api/sessions/{}/source", server.base, made["id"].as_str().unwrap());
    let client = reqwest::Client::new();
    let form = |bytes: Vec<u8>, name: &str| {
        reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::bytes(bytes).file_name(name.to_owned()))
    };
    for bad in [vec![], b"this is no sound at all, however long it may be".to_vec(), wav(0.0).to_vec()] {
        let response = client.post(&url).multipart(form(bad, "bad.mp3")).send().await.unwrap();
        assert_eq!(response.status(), 422);
        let reason = response.json::<Value>().await.unwrap();
        assert!(reason["error"].as_str().unwrap().len() > 20, "{reason}");
    }
    let good: Value = client.post(format!("{url}?loop=true")).multipart(form(wav(1.0).to_vec(), "tone.wav")).send().await.unwrap().json().await.unwrap();
    assert_eq!(good["source"]["kind"], "upload");
    assert_eq!(good["source"]["name"], "tone.wav");
    assert_eq!(good["source"]["loop"], true);
    let live: Value = client.put(&url).json(&json!({"kind": "live"})).send().await.unwrap().json().await.unwrap();
    assert_eq!(live["source"]["kind"], "live");
    assert_eq!(client.put(&url).json(&json!({"kind": "stdin"})).send().await.unwrap().status(), 409);
    assert_eq!(client.put(&url).json(&json!({"kind": "song", "id": "none"})).send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn avatars_are_listed_shown_and_uploaded() {
    let server = serve(&[]).await;
    let (_, list) = get(&format!("{}/api/avatars", server.base)).await;
    assert_eq!(list, json!([{"id": "disc", "name": "Disc", "image": "/api/avatars/disc.png", "back": false}]));
    assert_eq!(reqwest::get(format!("{}/api/avatars/disc.png", server.base)).await.unwrap().headers()["content-type"], "image/png");
    let upload = |bytes: &'static [u8]| {
        let form = reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::bytes(bytes).file_name("me.png"));
        reqwest::Client::new().post(format!("{}/api/avatars", server.base)).multipart(form).send()
    };
    assert_eq!(upload(b"\x89PNG...").await.unwrap().status(), 201);
    assert_eq!(upload(b"GIF89a").await.unwrap().status(), 422);
    assert_eq!(get(&format!("{}/api/avatars", server.base)).await.1.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_avatars_joints_are_shown_corrected_and_checked() {
    let server = serve(&[]).await;
    let client = reqwest::Client::new();
    let all = format!("{}/api/avatars", server.base);
    let file = odori_server::built_in::avatar().unwrap().to_bytes().unwrap();
    let form = reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::bytes(file).file_name("me.odori"));
    assert_eq!(client.post(&all).multipart(form).send().await.unwrap().status(), 201);
    let (_, points) = get(&format!("{all}/real/points")).await;
    assert_eq!(points["keypoints"].as_object().unwrap().len(), 24);
    assert!(points["face"]["left_eye"]["size"][0].as_f64().unwrap() > 10.0);
    let picture = reqwest::get(format!("{all}/real/reference.png")).await.unwrap();
    assert_eq!(picture.headers()["content-type"], "image/png");

    let put = |id: &str, points: &Value| client.put(format!("{all}/{id}/points")).json(points).send();
    let with = |pointer: &str, value: Value| {
        let mut points = points.clone();
        *points.pointer_mut(pointer).unwrap() = value;
        points
    };
    for (bad, status, word) in [
        (with("/keypoints/left_elbow", json!([9000, 10])), 422, "left_elbow"),
        (with("/keypoints/pelvis", points["keypoints"]["neck"].clone()), 422, "neck and pelvis"),
        (with("/face/mouth/size", json!([0, 10])), 422, "mouth"),
        (with("/keypoints", json!({})), 422, "needed"),
        (with("/width", json!("wide")), 400, "width"),
    ] {
        let answer = put("real", &bad).await.unwrap();
        assert_eq!(answer.status(), status);
        let error = answer.json::<Value>().await.unwrap()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(put("nobody", &points).await.unwrap().status(), 404);

    let moved = with("/keypoints/left_elbow/1", json!(points["keypoints"]["left_elbow"][1].as_f64().unwrap() + 12.0));
    let answer = put("real", &moved).await.unwrap();
    assert_eq!(answer.status(), 201);
    let made: Value = answer.json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    assert_ne!(id, "real");
    assert_eq!(get(&format!("{all}/{id}/points")).await.1["keypoints"], moved["keypoints"]);
    // It took the place of the uploaded one; of one that was not uploaded it would be a second.
    let ids: Vec<Value> = get(&all).await.1.as_array().unwrap().iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, [json!("disc"), json!(id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_hosts_origins_and_missing_tokens_are_refused() {
    let server = serve(&["--token", "very-secret", "--allow-origin", "https://example.org"]).await;
    let client = reqwest::Client::new();
    let url = format!("{}/api/songs", server.base);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(client.get(&url).bearer_auth("very-secret").send().await.unwrap().status(), 200);
    assert_eq!(client.get(format!("{url}?token=very-secret")).send().await.unwrap().status(), 200);
    assert_eq!(client.get(&url).bearer_auth("very-secret").header("host", "evil.example").send().await.unwrap().status(), 403);
    assert_eq!(client.get(&url).bearer_auth("very-secret").header("origin", "https://evil.example").send().await.unwrap().status(), 403);
    let allowed = client.get(&url).bearer_auth("very-secret").header("origin", "https://example.org").send().await.unwrap();
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://example.org");
    assert!(allowed.headers()["access-control-expose-headers"].to_str().unwrap().contains("location"));
    assert_eq!(get(&format!("{}/api/health", server.base)).await.0, 200);
    let preflight = client
        .request(reqwest::Method::OPTIONS, format!("{}/whep/x", server.base))
        .header("origin", "https://example.org")
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_the_page_answer() {
    let server = serve(&[]).await;
    post(&format!("{}/api/sessions", server.base), json!({}), 201).await;
    let text = reqwest::get(format!("{}/metrics", server.base)).await.unwrap().text().await.unwrap();
    assert!(text.contains("odori_sessions 1"), "{text}");
    let page = reqwest::get(&server.base).await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_said_so_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = match command::open(engine().0, &args(&["--port", &port])).await {
        Ok(_) => panic!("two programs on one port"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains(&port) && error.contains("--port"), "{error}");
}
