//! Brokers that do not let everybody in: certificates, passwords, access lists, sizes. Each refusal is told with what to do.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use support::broker::no_subscriptions;
use support::fakecam::Setting;
use support::tools::program;
use support::{Porthole, Scratch, finish, until};

use crate::mqtt::{LIVE, Rig, metric, watch};

/// An authority, and what it has signed: for a broker at 127.0.0.1, for one at another name, and for a client.
struct Authority {
    scratch: Scratch,
}

impl Authority {
    #[track_caller]
    fn new() -> Option<Self> {
        program("openssl", "openssl")?;
        let this = Self { scratch: Scratch::new() };
        this.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem");
        for (name, subject) in
            [("broker", "IP:127.0.0.1"), ("other", "DNS:other.example"), ("client", "DNS:edge")]
        {
            this.openssl(&format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -addext subjectAltName={subject} \
                 -keyout {name}.key -out {name}.csr"
            ));
            this.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out {name}.pem"
            ));
            // mosquitto reads it as a user of its own.
            let key = this.scratch.path(&format!("{name}.key"));
            std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        Some(this)
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let (code, _, error) =
            finish(command.args(arguments.split_whitespace()).current_dir(self.scratch.path("")));
        assert_eq!(code, 0, "openssl {arguments}: {error}");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }
}

/// Lines of mosquitto for one user, `edge`, whose password is `right`.
#[track_caller]
fn password_file(scratch: &Scratch) -> Option<String> {
    let tool = program("mosquitto_passwd", "mosquitto")?;
    let passwords = scratch.file("passwords", "");
    let (code, _, error) = finish(Command::new(tool).arg("-b").arg(&passwords).args(["edge", "right"]));
    assert_eq!(code, 0, "{error}");
    Some(format!("allow_anonymous false\npassword_file {}", passwords.display()))
}

fn connected(service: &Porthole) {
    until("it is connected", || service.state()["mqtt"]["connected"].as_str().map(drop));
}

/// The log says this once, the state too, and viewers on the LAN do not care.
#[track_caller]
fn refused(service: &Porthole, words: &[&str]) {
    for words in words {
        service.until_logged(words);
    }
    let error = until("the state says so", || service.state()["mqtt"]["error"].as_str().map(str::to_owned));
    assert!(words.iter().all(|words| error.contains(words)), "{error}");
    assert_eq!(service.state()["mqtt"]["connected"], Value::Null);
    assert_eq!(metric(service, "connected"), 0.0);
    assert!(!service.log().contains("wrong-password"), "{}", service.log());
}

#[cfg(feature = "tls")]
#[test]
fn brokers_with_certificates_and_passwords_are_used_and_their_refusals_told() {
    let (Some(authority), scratch) = (Authority::new(), Scratch::new()) else { return };
    let Some(passwords) = password_file(&scratch) else { return };
    let path = |name: &str| authority.file(name).display().to_string();
    let tls = |certificate: &str| {
        format!(
            "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n{passwords}",
            path("ca.pem"),
            path(&format!("{certificate}.pem")),
            path(&format!("{certificate}.key"))
        )
    };
    let Some(rig) = Rig::new(&tls("broker")) else { return };
    let password = scratch.file("password", "right\n");
    let wrong = scratch.file("wrong", "wrong-password\n");
    let url = format!("url = \"mqtts://{}\"\nuser = \"edge\"\n", rig.broker.address);
    let with = |password: &PathBuf| format!("password_file = {password:?}\n");
    let ca = format!("ca = {:?}\n", authority.file("ca.pem"));
    let identity = format!(
        "client_certificate = {:?}\nclient_key = {:?}\n",
        authority.file("client.pem"),
        authority.file("client.key")
    );
    connected(&rig.serve(&format!("{url}{}{ca}{identity}", with(&password))));
    let service = rig.serve(&format!("{url}{}{ca}{identity}", with(&wrong)));
    refused(
        &service,
        &["refuses the user \"edge\" or its password", "check user and password_file of [mqtt]"],
    );
    let service = rig.serve(&format!("{url}{}{ca}", with(&password)));
    refused(
        &service,
        &["refuses the certificate that it was shown", "check client_certificate and client_key"],
    );
    let service = rig.serve(&format!("{url}{}{identity}", with(&password)));
    refused(&service, &["no authority that is trusted has signed the certificate", "set ca of [mqtt]"]);
    let service = rig.serve(&format!("{url}{}{ca}{identity}", with(&scratch.path("nowhere"))));
    refused(&service, &["nowhere: No such file", "its first line"]);
    // In the clear to a port with TLS.
    let service = rig.serve(&format!("url = \"mqtt://{}\"", rig.broker.address));
    service.until_logged("mqtt: ");
    drop(rig);
    let Some(rig) = Rig::new(&tls("other")) else { return };
    let url = format!("url = \"mqtts://{}\"\nuser = \"edge\"\n", rig.broker.address);
    let service = rig.serve(&format!("{url}{}{ca}{identity}", with(&password)));
    refused(&service, &["the certificate sha256:", "use the name that it is for"]);
}

#[test]
fn a_broker_that_wants_a_password_is_told_as_that_and_used_once_it_has_one() {
    let scratch = Scratch::new();
    let Some(passwords) = password_file(&scratch) else { return };
    let Some(rig) = Rig::new(&passwords) else { return };
    let service = rig.publish("");
    refused(&service, &["refuses clients without a user and a password"]);
    let file = scratch.file("password", "wrong-password\n");
    let service = rig.publish(&format!("user = \"edge\"\npassword_file = {file:?}"));
    refused(&service, &["refuses the user \"edge\""]);
    // It is read again.
    std::fs::write(&file, "right\n").unwrap();
    connected(&service);
    assert_eq!(service.state()["mqtt"]["error"], Value::Null);
    connected(&rig.serve(&format!("url = \"mqtt://edge:right@{}\"", rig.broker.address)));
}

#[test]
fn topics_that_an_access_list_refuses_are_told_until_it_is_corrected() {
    let scratch = Scratch::new();
    let acl = scratch.file("acl", "topic read #\ntopic write elsewhere/#\n");
    let Some(rig) = Rig::new(&format!("allow_anonymous true\nacl_file {}", acl.display())) else { return };
    let service = rig.publish("");
    service
        .until_logged("its access list refuses it; let this user read and write topics below porthole/edge");
    let state = service.state()["mqtt"].clone();
    assert!(
        state["connected"].is_string() && state["error"].as_str().unwrap().contains("access list"),
        "{state}"
    );
    assert_eq!(service.log().matches("access list").count(), 1, "{}", service.log());
    std::fs::write(&acl, "topic readwrite #\n").unwrap();
    // It reads its access list again.
    rig.broker.signal(libc::SIGHUP);
    service.until_logged("the broker gives back what is published at porthole/edge/status again");
    assert_eq!(service.state()["mqtt"]["error"], Value::Null);
}

#[test]
fn subscriptions_that_the_broker_refuses_are_told() {
    let scratch = Scratch::new();
    let Some(lines) = no_subscriptions(&scratch) else { return };
    let Some(rig) = Rig::new(&lines) else { return };
    let service = rig.publish("");
    let refused = "the broker refuses the subscription to porthole/edge/front/watch; let this user read and write topics below \
                   porthole/edge in its access list";
    service.until_logged(refused);
    service.until_logged("the subscription to homeassistant/status; let this user read and write it");
    let state = service.state()["mqtt"].clone();
    let error = state["error"].as_str().unwrap();
    assert!(state["connected"].is_string() && error.contains("access list"), "{state}");
    assert_eq!(service.log().matches(refused).count(), 1, "{}", service.log());
}

#[test]
fn a_frame_that_is_larger_than_the_broker_takes_is_told_with_what_to_change() {
    let Some(rig) = Rig::new("allow_anonymous true\nmax_packet_size 60000") else { return };
    rig.table.set(Setting::FrameBytes, 100_000);
    let service = rig.publish("");
    connected(&service);
    let mut listener = rig.listener();
    until("the log says so", || {
        watch(&mut listener, "a", 60.0);
        service
            .log()
            .contains("that is larger than it takes; raise its limit (max_packet_size of mosquitto")
            .then_some(())
    });
    until("such frames are counted", || (metric(&service, "too_large_total") > 10.0).then_some(()));
    connected(&service);
    // Smaller ones pass.
    rig.table.set(Setting::FrameBytes, 0);
    watch(&mut listener, "a", 60.0);
    listener.message_to(LIVE);
}

#[test]
fn a_broker_of_another_protocol_is_told() {
    let web = Porthole::start(&["--source", "pattern"]);
    let scratch = Scratch::new();
    let text = format!("[[camera]]\nsource = \"pattern\"\n[mqtt]\nurl = \"mqtt://{}\"\n", web.address);
    let service = Porthole::configured(&scratch, &text);
    refused(&service, &["what answers is no MQTT broker"]);
}
