//! From the options to a connection that the broker accepted.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, LastWill, Login, Packet};
use tokio::io::{AsyncWriteExt, ReadHalf, split};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::MqttError;
use super::link::BrokerLink;
use super::options::{BrokerAccess, BrokerKeys, BrokerOptions};
use super::packets::{Arrived, LARGEST, PacketReader};
use super::size_guard::SizeGuard;
use super::url::BrokerAddress;
use crate::client::{ClientTls, Connector, RemoteStream, first_line};

/// Longest time for the broker to accept or refuse.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The broker counts a client that sends nothing for one and a half times as long as lost (MQTT 3.1.1, section 3.1.2.10).
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Random digits of a client's name, which every broker takes with these in front (section 3.1.3.1: 23 characters).
const ID_DIGITS: usize = 14;

/// What is prepared once for many attempts.
pub(super) struct Preparation {
    tls: Option<ClientTls>,
    login: Option<Login>,
}

/// A connection that the broker accepted.
pub(super) struct OpenedLink {
    pub(super) link: Arc<BrokerLink>,
    pub(super) stream: ReadHalf<RemoteStream>,
    pub(super) reader: PacketReader,
}

/// Reads the files with certificates and the password.
pub(super) async fn prepare(options: &BrokerOptions) -> Result<Preparation, MqttError> {
    let (access, keys) = (options.access.clone(), options.keys);
    let done = spawn_blocking(move || read_files(&access, keys)).await;
    done.unwrap_or_else(|error| Err(MqttError::Prepare(error.into())))
}

fn read_files(access: &BrokerAccess, keys: &'static BrokerKeys) -> Result<Preparation, MqttError> {
    let tls = access.url.is_encrypted().then(|| ClientTls::new(&access.trust, access.identity.as_ref()));
    let tls = tls.transpose().map_err(|error| MqttError::of_connect(error, keys))?;
    let password = match &access.password_file {
        Some(path) => Some(first_line(path)?),
        None => access.url.password().cloned(),
    };
    let user = access.user.as_deref().or(access.url.user());
    let login = user.map(|user| Login {
        username: user.to_owned(),
        password: password.as_ref().map_or("", |password| password.reveal()).to_owned(),
    });
    Ok(Preparation { tls, login })
}

/// A name that no other client of the broker has: of two with one name, each ends the connection of the other.
pub(super) fn client_id() -> String {
    let mut bytes = [0; ID_DIGITS / 2];
    // Without random numbers: two processes of one machine do not run with one number at the same time.
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..4].copy_from_slice(&std::process::id().to_ne_bytes());
    }
    format!("porthole{}", hex::encode(bytes))
}

/// Connects to one address of the broker. Every step has a deadline of its own.
pub(super) async fn open(
    options: &BrokerOptions,
    address: &BrokerAddress,
    preparation: &Preparation,
    client_id: &str,
    sizes: &Arc<SizeGuard>,
) -> Result<OpenedLink, MqttError> {
    let keys = options.keys;
    let failed = |error| MqttError::of_connect(error, keys);
    let connector = Connector::new(&address.host, address.port, preparation.tls.clone());
    let tcp = connector.tcp().await.map_err(failed)?;
    let socket = tcp.as_fd().try_clone_to_owned().map_err(MqttError::Broken)?;
    let (mut stream, mut output) = split(connector.secure(tcp).await.map_err(failed)?);
    let mut reader = PacketReader::new(options.most_incoming);
    let answer = async {
        output
            .write_all(&connect_packet(options, preparation, client_id)?)
            .await
            .map_err(|e| MqttError::of_io(e, keys))?;
        output.flush().await.map_err(|error| MqttError::of_io(error, keys))?;
        match reader.next(&mut stream).await.map_err(|error| MqttError::of_io(error, keys))? {
            Ok(Arrived::Packet(Packet::ConnAck(answer))) => Ok(answer.code),
            Ok(_) => Err(MqttError::NotMqtt { why: "it does not begin with CONNACK".into() }),
            Err(error) => Err(MqttError::NotMqtt { why: error.to_string() }),
        }
    };
    let code = timeout(ANSWER_TIMEOUT, answer).await;
    match code.unwrap_or(Err(MqttError::Silent { seconds: ANSWER_TIMEOUT.as_secs() }))? {
        ConnectReturnCode::Success => {
            let link = Arc::new(BrokerLink::new(output, socket, keys, Arc::clone(sizes)));
            Ok(OpenedLink { link, stream, reader })
        }
        code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized) => {
            let user = preparation.login.as_ref().map(|login| login.username.clone());
            Err(MqttError::NotAuthorized { user, code: code as u8, keys })
        }
        ConnectReturnCode::ServiceUnavailable => Err(MqttError::Unavailable),
        ConnectReturnCode::BadClientId => Err(MqttError::ClientRefused { why: "code 2, its name" }),
        ConnectReturnCode::RefusedProtocolVersion => {
            Err(MqttError::ClientRefused { why: "code 1, MQTT 3.1.1" })
        }
    }
}

fn connect_packet(
    options: &BrokerOptions,
    preparation: &Preparation,
    client_id: &str,
) -> Result<BytesMut, MqttError> {
    let mut connect = Connect::new(client_id);
    connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
    connect.login = preparation.login.clone();
    connect.last_will = options
        .last_will
        .as_ref()
        .map(|word| LastWill::new(word.topic.as_str(), word.payload, QoS::AtMostOnce, true));
    let mut bytes = BytesMut::new();
    let written = Packet::Connect(connect).write(&mut bytes, LARGEST);
    written.map_err(|error| MqttError::NotMqtt { why: error.to_string() })?;
    Ok(bytes)
}
