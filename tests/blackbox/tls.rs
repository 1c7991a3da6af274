//! HTTPS: certificates of its own and others', and what it is to those who speak something else.

#[cfg(not(feature = "tls"))]
#[test]
fn one_built_without_tls_says_so_and_serves_without() {
    use support::http::get;
    use support::{Porthole, Scratch, run};
    let scratch = Scratch::new();
    for (config, key) in [
        ("[tls]\nself_signed = true\n", "self_signed = true"),
        ("[tls]\ncertificate = \"a\"\nkey = \"b\"\n", "certificate = \"a\""),
    ] {
        let file = scratch.file("porthole.toml", config);
        let file = file.to_str().unwrap();
        let (code, _, error) = run(&["--config", file]);
        assert_eq!(code, 1, "{error}");
        let expected = format!("porthole: error: {file}:2: {key}: this porthole was built without TLS");
        assert!(error.starts_with(&expected), "{error}");
    }
    let (code, _, error) = run(&["--tls", "self-signed"]);
    assert!(
        code == 1 && error.contains("--tls = \"self-signed\": this porthole was built without TLS"),
        "{error}"
    );
    let service = Porthole::start(&["--source", "pattern", "--tls", "none"]);
    assert_eq!(get(service.address, "/snapshot").status, 200);
}

#[cfg(feature = "tls")]
mod built_with {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use crate::page::until_words;
    use support::browser::Browser;
    use support::http::{Multipart, request};
    use support::picture::decode;
    use support::prometheus::Exposition;
    use support::tls::{ClientStream, encrypted, plain};
    use support::tools::program;
    use support::ws::Client;
    use support::{DEADLINE, Porthole, Scratch, finish, porthole, until};

    const PATTERN: [&str; 6] = ["--source", "pattern", "--size", "320x240", "--fps", "60"];

    /// Serves HTTPS with a certificate of its own.
    fn self_signed(state: &Path, more: &[&str]) -> Porthole {
        let mut command = porthole();
        command.args(PATTERN).args(["--tls", "self-signed", "--state-dir"]).arg(state);
        Porthole::spawn(command.args(["--listen", "127.0.0.1:0"]).args(more))
    }

    fn ask(mut wire: Box<dyn ClientStream>, target: &str) -> Box<dyn ClientStream> {
        write!(wire, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        wire
    }

    /// The answer to a request by HTTPS.
    fn get(address: SocketAddr, target: &str) -> String {
        let mut answer = Vec::new();
        ask(encrypted(address), target).read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn metrics(service: &Porthole) -> Exposition {
        let answer = get(service.address, "/metrics");
        Exposition::parse(answer.split_once("\r\n\r\n").unwrap().1)
    }

    fn counted(service: &Porthole, name: &str, reason: &str) -> f64 {
        let labels: &[(&str, &str)] = if reason.is_empty() { &[] } else { &[("reason", reason)] };
        metrics(service).value(name, labels)
    }

    /// The fingerprint that the log tells.
    fn fingerprint(service: &Porthole) -> String {
        let log =
            until("the fingerprint is told", || Some(service.log()).filter(|log| log.contains("SHA-256 is")));
        log.rsplit("SHA-256 is ").next().unwrap()[..95].to_owned()
    }

    /// Makes a certificate for `127.0.0.1`, and its key, as everybody does.
    fn certificate(folder: &Scratch, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.path(&format!("{name}.pem")), folder.path(&format!("{name}.key")));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]);
        openssl.args(["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]);
        let (code, _, error) = finish(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
        assert_eq!(code, 0, "{error}");
        (certificate, key)
    }

    /// Whether curl is content with the service when it trusts this certificate alone.
    fn curl_trusts(certificate: &Path, url: &str) -> bool {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"]).arg(certificate);
        let (code, out, error) = finish(curl.arg(url));
        assert!(code == 0 || error.contains("certificate"), "{url}: {error}");
        code == 0 && out == "ok\n"
    }

    #[test]
    fn a_certificate_of_its_own_is_made_once_and_again_when_it_lacks_a_name() {
        let scratch = Scratch::new();
        let state = scratch.path("state");
        let file = state.join("self-signed.pem");
        let service = self_signed(&state, &[]);
        assert!(service.url.starts_with("https://127.0.0.1:"), "{}", service.url);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let first = fingerprint(&service);
        if program("curl", "curl").is_some() {
            let port = service.address.port();
            for host in ["127.0.0.1", "localhost"] {
                assert!(curl_trusts(&file, &format!("https://{host}:{port}/healthz")), "{host}");
            }
        }
        drop(service);
        assert_eq!(fingerprint(&self_signed(&state, &[])), first, "it was made a second time");
        let elsewhere = fingerprint(&self_signed(&state, &["--listen", "127.0.0.9:0"]));
        assert_ne!(elsewhere, first, "it does not stand for its address");
        assert_eq!(fingerprint(&self_signed(&state, &[])), elsewhere, "it was made again for no reason");
        // As after a power cut on a bad card.
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert_ne!(fingerprint(&self_signed(&state, &[])), elsewhere);
        // As if its time had nearly come.
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<String> = text
            .lines()
            .map(|line| match line.strip_prefix("until") {
                Some(_) => "until, in seconds of the Unix epoch: 1000".into(),
                None => line.to_owned(),
            })
            .collect();
        assert_ne!(lines.join("\n"), text.trim_end(), "it does not say until when it is good");
        std::fs::write(&file, lines.join("\n")).unwrap();
        let before = fingerprint(&self_signed(&state, &[]));
        assert_eq!(fingerprint(&self_signed(&state, &[])), before);
    }

    #[test]
    fn viewers_of_every_kind_get_their_frames() {
        let scratch = Scratch::new();
        let service = self_signed(&scratch.path("state"), &[]);
        let headers = [("Sec-WebSocket-Protocol", "porthole.v1")];
        let mut client = Client::over(encrypted(service.address), service.address, "/ws", &headers).unwrap();
        let mut stream = Multipart::over(ask(encrypted(service.address), "/stream"));
        let mut last = [0; 2];
        for _ in 0..30 {
            let pictures = [client.acknowledged().jpeg, stream.part().1];
            let numbers = pictures.map(|jpeg| decode(&jpeg).pattern_number());
            assert!(numbers[0] > last[0] && numbers[1] > last[1], "{numbers:?} after {last:?}");
            last = numbers;
        }
        assert!(get(service.address, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    }

    #[test]
    fn a_viewer_who_takes_nothing_is_dropped() {
        let scratch = Scratch::new();
        let config = format!(
            "[server]\nprogress_timeout_s = 1\nstate_dir = \"{}\"\n[tls]\nself_signed = true\n\
             [[camera]]\nsource = \"pattern\"\n",
            scratch.path("state").display()
        );
        let service = Porthole::configured(&scratch, &config);
        let _deaf = Client::over(encrypted(service.address), service.address, "/ws", &[]).unwrap();
        let _also = ask(encrypted(service.address), "/stream");
        until("both are dropped", || {
            (counted(&service, "porthole_viewers_dropped_total", "stalled") == 2.0).then_some(())
        });
    }

    #[test]
    fn a_browser_shows_the_picture() {
        let scratch = Scratch::new();
        let service = self_signed(&scratch.path("state"), &[]);
        let mut browser = Browser::start();
        browser.call("Security.setIgnoreCertificateErrors", &serde_json::json!({ "ignore": true }));
        browser.open(&service.url);
        until_words(&mut browser, "Live");
        assert!(browser.requests.iter().any(|url| url.starts_with("wss://")), "{:?}", browser.requests);
    }

    #[test]
    fn versions_before_1_2_are_refused() {
        let Some(openssl) = program("openssl", "openssl") else { return };
        let scratch = Scratch::new();
        let service = self_signed(&scratch.path("state"), &[]);
        let shakes = |version: &str| {
            let mut client = Command::new(&openssl);
            client.args(["s_client", "-connect", &service.address.to_string(), version]);
            // Old ones are offered only by those who ask for trouble.
            let (code, out, error) =
                finish(client.args(["-cipher", "DEFAULT@SECLEVEL=0"]).stdin(Stdio::null()));
            (code == 0, format!("{out}{error}"))
        };
        for version in ["-tls1", "-tls1_1"] {
            let (shaken, said) = shakes(version);
            assert!(!shaken && said.contains("SSL alert number"), "{version}: {said}");
        }
        for version in ["-tls1_2", "-tls1_3"] {
            let (shaken, said) = shakes(version);
            assert!(shaken, "{version}: {said}");
        }
        until("the refused are counted", || {
            (counted(&service, "porthole_connections_dropped_total", "handshake") >= 2.0).then_some(())
        });
    }

    #[test]
    fn files_that_change_are_read_again_and_bad_ones_are_not_served_with() {
        if program("openssl", "openssl").is_none() || program("curl", "curl").is_none() {
            return;
        }
        let scratch = Scratch::new();
        let (first, first_key) = certificate(&scratch, "first");
        let (second, second_key) = certificate(&scratch, "second");
        let (live, live_key) = (scratch.path("live.pem"), scratch.path("live.key"));
        std::fs::copy(&first, &live).unwrap();
        std::fs::copy(&first_key, &live_key).unwrap();
        let config = format!(
            "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n[[camera]]\nsource = \"pattern\"\n",
            live.display(),
            live_key.display()
        );
        let service = Porthole::configured(&scratch, &config);
        let url = format!("{}healthz", service.url);
        assert!(curl_trusts(&first, &url) && !curl_trusts(&second, &url));
        let headers = [("Sec-WebSocket-Protocol", "porthole.v1")];
        let mut viewer = Client::over(encrypted(service.address), service.address, "/ws", &headers).unwrap();
        viewer.acknowledged();

        // Half of it is no good, and told of; the other half makes it whole.
        std::fs::copy(&second, &live).unwrap();
        until("the half is rejected", || {
            (counted(&service, "porthole_tls_rejected_total", "") >= 1.0).then_some(())
        });
        assert!(curl_trusts(&first, &url), "half a certificate is served with");
        service.until_logged("does not belong to this certificate; https keeps its old certificate");
        std::fs::copy(&second_key, &live_key).unwrap();
        until("the new one is served with", || curl_trusts(&second, &url).then_some(()));
        assert_eq!(counted(&service, "porthole_tls_reloads_total", ""), 1.0);

        std::fs::remove_file(&live).unwrap();
        let rejected = counted(&service, "porthole_tls_rejected_total", "");
        until("its absence is told of", || {
            (counted(&service, "porthole_tls_rejected_total", "") > rejected).then_some(())
        });
        assert!(curl_trusts(&second, &url));
        viewer.acknowledged();
    }

    #[test]
    fn what_cannot_be_served_with_is_named_at_the_start() {
        if program("openssl", "openssl").is_none() {
            return;
        }
        let scratch = Scratch::new();
        let (good, key) = certificate(&scratch, "good");
        let (_, other) = certificate(&scratch, "other");
        let empty = scratch.file("empty.pem", "nothing\n");
        let missing = scratch.path("missing.pem");
        for (certificate, key, path, why) in [
            (&missing, &key, &missing, "No such file or directory (os error 2)".to_owned()),
            (
                &empty,
                &key,
                &empty,
                "holds no certificate; it must be PEM, with a line BEGIN CERTIFICATE".into(),
            ),
            (&good, &empty, &empty, "holds no private key; it must be PEM".into()),
            (
                &good,
                &other,
                &good,
                format!("the key in {} does not belong to this certificate", other.display()),
            ),
        ] {
            let config =
                format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
            let file = scratch.file("porthole.toml", config);
            let (code, _, error) = finish(porthole().args(["--listen", "127.0.0.1:0", "--config"]).arg(file));
            assert_eq!(code, 2, "{error}");
            let expected = format!("porthole: error: tls {}: {why}", path.display());
            assert!(error.starts_with(&expected), "{error}, not {expected}");
        }
        let in_the_way = scratch.file("file", "");
        let mut command = porthole();
        command.args(["--listen", "127.0.0.1:0", "--tls", "self-signed", "--state-dir"]).arg(in_the_way);
        let (code, _, error) = finish(&mut command);
        assert!(code == 2 && error.contains("the self-signed certificate is kept there"), "{error}");
    }

    #[test]
    fn plain_http_on_the_port_is_sent_on_and_noise_is_not_minded() {
        let scratch = Scratch::new();
        let service = self_signed(&scratch.path("state"), &[]);
        let sent_on = request(service.address, "GET", "/stream?x=1", &[]);
        let there = format!("https://{}/stream?x=1", service.address);
        assert_eq!((sent_on.status, sent_on.header("location")), (308, Some(there.as_str())));
        let told = request(service.address, "PUT", "/controls/gain", &[("Content-Length", "0")]);
        assert_eq!(told.status, 400);
        assert_eq!(told.text(), "this port speaks HTTPS: write https:// in place of http://\n");
        for noise in [&b"\x00\x01\x02\x03 this is nothing\r\n\r\n"[..], b"\x16\x03\x01\x00\x05hello", b"\x16"]
        {
            let mut stream = TcpStream::connect(service.address).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(noise).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // It may be told what was wrong, or cut off.
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let dropped = "porthole_connections_dropped_total";
        until("all are counted", || {
            (counted(&service, dropped, "malformed") == 1.0 && counted(&service, dropped, "handshake") == 2.0)
                .then_some(())
        });
        assert_eq!(counted(&service, "porthole_requests_redirected_total", ""), 2.0);
        // Nobody is sent to a name that is not this machine's.
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 421 ") && !answer.contains("https://"), "{answer}");
    }

    #[test]
    fn when_all_connections_are_taken_the_next_is_told_so_behind_its_handshake() {
        let scratch = Scratch::new();
        let file = scratch.file("porthole.toml", "[server]\nmax_viewers = 2\n[limits]\nconnections = 2\n");
        let service = self_signed(&scratch.path("state"), &["--config", file.to_str().unwrap()]);
        let viewers: Vec<Box<dyn ClientStream>> = (0..2)
            .map(|_| {
                let mut wire = ask(encrypted(service.address), "/stream");
                wire.read_exact(&mut [0; 1000]).unwrap();
                wire
            })
            .collect();
        for wire in [encrypted(service.address), plain(service.address)] {
            let mut answer = String::new();
            // Some close without a goodbye, which rustls calls an error behind the answer.
            let _ = ask(wire, "/healthz").read_to_string(&mut answer);
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 5"), "{answer}");
            assert!(
                answer.ends_with("all 2 connections are taken; raise limits.connections to allow more\n"),
                "{answer}"
            );
        }
        drop(viewers);
        until("there is room again", || get(service.address, "/healthz").contains(" 200 ").then_some(()));
    }

    #[test]
    fn a_handshake_that_stops_is_given_up_and_holds_up_nobody() {
        let scratch = Scratch::new();
        let service = self_signed(&scratch.path("state"), &[]);
        let mut silent = TcpStream::connect(service.address).unwrap();
        silent.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut stopped = TcpStream::connect(service.address).unwrap();
        stopped.set_read_timeout(Some(DEADLINE)).unwrap();
        stopped.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1]).unwrap();
        let mut client = Client::over(encrypted(service.address), service.address, "/ws", &[]).unwrap();
        (0..30).for_each(|_| drop(client.binary()));
        for stream in [&mut silent, &mut stopped] {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it is still connected");
        }
        until("both are counted", || {
            (counted(&service, "porthole_connections_dropped_total", "idle") == 2.0).then_some(())
        });
    }

    #[test]
    fn errors_in_the_configuration_are_named() {
        let scratch = Scratch::new();
        for (config, expected) in [
            ("[tls]\ncertificate = \"a\"\n", "FILE:2: certificate = \"a\": needs key beside it"),
            ("[tls]\nkey = \"a\"\n", "FILE:2: key = \"a\": needs certificate beside it"),
            (
                "[tls]\nself_signed = true\nkey = \"a\"\n",
                "FILE:2: self_signed = true: cannot be beside certificate and key: leave out one or the other",
            ),
        ] {
            let file = scratch.file("porthole.toml", config);
            let file = file.to_str().unwrap();
            let (code, _, error) = support::run(&["check", "--config", file]);
            assert_eq!((code, error.replace(file, "FILE")), (1, format!("porthole: error: {expected}\n")));
        }
        let (code, _, error) = support::run(&["check", "--tls", "yes"]);
        assert_eq!(code, 1);
        assert_eq!(error, "porthole: error: --tls = \"yes\": must be \"self-signed\" or \"none\"\n");
    }
}
