//! A camera that reaches its viewers through a cluster of brokers, of which nodes are killed, started again and cut off: an edge,
//! two front ends, and as many viewers as this machine can look at. In `measured`, as it takes the whole machine.

use std::time::{Duration, Instant};

use support::broker::{EDGE, FRONT_END, NatsCluster};
use support::crowd::Crowd;
use support::fakecam::{Camera, Table, environment};
use support::netns;
use support::ws::Client;
use support::{Porthole, Scratch, until};

const NODE: &str = "/dev/video90";
const FPS: u32 = 10;
/// Viewers of each front end.
const VIEWERS: usize = 200;
/// Longest time that the picture of any viewer may stand.
const LONGEST_GAP: Duration = Duration::from_secs(2);
/// Frames that each viewer gets before and after each fault: longer than an election takes.
const FRAMES: u64 = 12 * FPS as u64;

/// An edge and its front ends, at different nodes of a cluster.
struct Reach<'a> {
    cluster: &'a NatsCluster,
    scratch: Scratch,
    _table: Table,
    edge: Porthole,
}

impl<'a> Reach<'a> {
    #[track_caller]
    fn start(cluster: &'a NatsCluster) -> Self {
        let scratch = Scratch::new();
        let table = Table::create(scratch.path("table")).unwrap();
        let camera = Camera::new(NODE, &table).with("formats", format!("MJPG:320x240@{FPS}"));
        let password = scratch.file("edge.password", EDGE.password.unwrap());
        let config = format!(
            "[mqtt]\nurl = \"mqtt://{}\"\nuser = \"{}\"\npassword_file = \"{}\"\ntopic = \"porthole/gate-pi\"\n\
             [[camera]]\nname = \"front\"\nsource = \"{NODE}\"\nlinger_s = 0\n",
            cluster.addresses(&[0, 1, 2]),
            EDGE.user.unwrap(),
            password.display()
        );
        let mut command = support::porthole();
        command.envs(environment(&[camera]));
        let config = scratch.file("edge.toml", config);
        let edge =
            Porthole::spawn(command.args(["--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()]));
        edge.until_logged("mqtt");
        Self { cluster, scratch, _table: table, edge }
    }

    /// A front end whose first session is at the first of these nodes.
    #[track_caller]
    fn front_end(&self, nodes: &[usize]) -> Porthole {
        self.front_end_of("porthole/gate-pi/front", nodes)
    }

    /// The same for a camera at another topic.
    #[track_caller]
    fn front_end_of(&self, topic: &str, nodes: &[usize]) -> Porthole {
        let password = self.scratch.file("front-end.password", FRONT_END.password.unwrap());
        let user = FRONT_END.user.unwrap();
        let config = format!(
            "[server]\nmax_viewers = 250\n[limits]\nconnections_per_address = 300\nviewers_per_address = 250\n\
             [[camera]]\nname = \"gate\"\nsource = \"mqtt://{user}@{}/{topic}\"\nsource_password_file = \"{}\"\nlinger_s = 0\n",
            self.cluster.addresses(nodes),
            password.display()
        );
        let name = format!("front-end-{}.toml", nodes[0]);
        let config = self.scratch.file(&name, config);
        Porthole::start(&["--config", config.to_str().unwrap()])
    }
}

fn count(service: &Porthole, name: &str) -> u64 {
    service.camera()["broker"][name].as_u64().unwrap()
}

#[track_caller]
fn until_all_sessions_are_back(front_ends: &[&Porthole]) {
    for service in front_ends {
        until(&format!("both sessions are connected, log: {}", service.log()), || {
            (count(service, "sessions") == 2).then_some(())
        });
    }
}

#[test]
fn viewers_of_a_cluster_notice_nothing_when_nodes_are_killed_and_come_back() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    let (edge, one, two, _files) = {
        let reach = Reach::start(&cluster);
        let (one, two) = (reach.front_end(&[1, 2, 0]), reach.front_end(&[2, 0, 1]));
        let Reach { edge, scratch, _table, .. } = reach;
        (edge, one, two, (scratch, _table))
    };
    let front_ends = [&one, &two];
    let crowd = Crowd::start(&[(one.address, VIEWERS), (two.address, VIEWERS)]);
    crowd.until_each_has(FRAMES / 4);
    until_all_sessions_are_back(&front_ends);
    crowd.longest_gap();
    for node in [1, 2, 0] {
        cluster.nodes[node].kill();
        crowd.until_each_has(FRAMES);
        let gap = crowd.longest_gap();
        assert!(gap <= LONGEST_GAP, "the picture stood for {gap:?} after node {} was killed", node + 1);
        cluster.nodes[node].restart();
        cluster.until_ready(node);
        until_all_sessions_are_back(&front_ends);
        crowd.until_each_has(FRAMES / 4);
        let gap = crowd.longest_gap();
        assert!(gap <= LONGEST_GAP, "the picture stood for {gap:?} when node {} came back", node + 1);
        assert_eq!(edge.camera()["reopens"], 0);
    }
    crowd.check();
    for service in front_ends {
        let camera = service.camera();
        assert_eq!((&camera["reopens"], &camera["state"]), (&0.into(), &"live".into()), "{camera}");
        // Each was connected to two nodes of three at any time.
        assert!(count(service, "reconnects") >= 2, "{camera}");
    }
    until("what the broker keeps is published", || edge.state()["mqtt"]["error"].is_null().then_some(()));
    assert!(!edge.log().contains("access list"), "{}", edge.log());
    let frames = edge.camera()["frames"].as_u64().unwrap();
    let shown = one.camera()["frames"].as_u64().unwrap();
    println!(
        "{} frames for {} viewers, {shown} of {frames} of the edge at one front end",
        crowd.frames(),
        2 * VIEWERS
    );
    drop(crowd);
    edge.until_camera_is("idle");
}

#[test]
fn a_front_end_that_is_killed_stops_counting_and_the_last_viewer_closes_the_far_camera() {
    let Some(cluster) = NatsCluster::start() else { return };
    let reach = Reach::start(&cluster);
    let (mut one, two) = (reach.front_end(&[1, 2, 0]), reach.front_end(&[2, 0, 1]));
    let edge = &reach.edge;
    edge.until_camera_is("idle");
    let mut clients = [&one, &two].map(|service| Client::porthole(service.address, "/ws"));
    for client in &mut clients {
        client.acknowledged();
    }
    let viewers = || edge.state()["mqtt"]["watchers"].as_u64().unwrap();
    until("the edge counts both front ends", || (viewers() == 2).then_some(()));
    let [_, mut at_two] = clients;
    one.signal(libc::SIGKILL);
    one.wait();
    let killed = Instant::now();
    until("the edge counts the other alone", || {
        at_two.acknowledged();
        (viewers() == 1).then_some(())
    });
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(17), "a killed front end counted for {took:?}");
    assert_eq!(edge.camera()["state"], "live");
    drop(at_two);
    let left = Instant::now();
    edge.until_camera_is("idle");
    assert!(left.elapsed() < Duration::from_secs(2), "the far camera was open for {:?}", left.elapsed());
    // What this user may not read.
    let refused = reach.front_end_of("elsewhere/gate-pi/front", &[0]);
    let _client = Client::porthole(refused.address, "/ws");
    let lost = refused.until_camera_is("lost");
    let error = lost["error"].as_str().unwrap();
    assert!(error.contains("refuses the subscription to elsewhere/gate-pi/front/live"), "{error}");
}

#[test]
fn viewers_of_a_cluster_notice_nothing_when_a_node_is_cut_off() {
    if let Some(obstacle) = netns::obstacle() {
        support::tools::missing(&obstacle);
        return;
    }
    let Some(cluster) = NatsCluster::start_on_machines() else { return };
    let network = cluster.network.as_ref().unwrap();
    network.hub.at(|| {
        let reach = Reach::start(&cluster);
        let (one, two) = (reach.front_end(&[1, 2, 0]), reach.front_end(&[2, 0, 1]));
        let front_ends = [&one, &two];
        let crowd = Crowd::start(&[(one.address, 20), (two.address, 20)]);
        crowd.until_each_has(FRAMES / 4);
        until_all_sessions_are_back(&front_ends);
        crowd.longest_gap();
        network.connect(1, false);
        crowd.until_each_has(20 * u64::from(FPS));
        let gap = crowd.longest_gap();
        assert!(gap <= LONGEST_GAP, "the picture stood for {gap:?} while a node was cut off");
        network.connect(1, true);
        cluster.until_ready(1);
        until_all_sessions_are_back(&front_ends);
        crowd.until_each_has(FRAMES);
        let gap = crowd.longest_gap();
        assert!(gap <= LONGEST_GAP, "the picture stood for {gap:?} when the node was back");
        crowd.check();
    });
}
