//! What frames cost in memory on their way from the camera to viewers of every kind: nothing. Once everybody has had a
//! few, neither the camera's thread nor the one that serves asks the allocator for anything.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use porthole::config::{Flags, resolve};
use porthole::service::Service;
use support::http::Multipart;
use support::ws::Client;
use support::{Scratch, until};
use tokio::sync::oneshot;

use crate::allocator::{exempt_this_thread, of_program};
use crate::turn;

/// Frames that are counted, captured and delivered.
const FRAMES: u64 = 10_000;
/// Frames everybody has had before.
const WARM_UP: u32 = 200;
const VIEWERS: usize = 20;

/// A clip of small pictures, all different.
fn clip() -> Vec<u8> {
    let picture = |number: u8| {
        let pixels: Vec<u8> = (0..160 * 120u32).map(|i| (i % 160) as u8 ^ number).collect();
        let mut jpeg = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 60);
        encoder.encode(&pixels, 160, 120, jpeg_encoder::ColorType::Luma).unwrap();
        jpeg
    };
    (0..20).flat_map(|number| picture(number * 11)).collect()
}

/// What the viewers have seen so far.
#[derive(Default)]
struct Seen {
    /// Frames each has had.
    had: [AtomicU32; VIEWERS],
    /// Number of the newest frame.
    newest: AtomicU32,
    over: AtomicBool,
}

impl Seen {
    fn delivered(&self) -> u64 {
        self.had.iter().map(|count| u64::from(count.load(SeqCst))).sum()
    }
}

/// Watches as the `index`th viewer, in one of the ways there are.
fn watch(index: usize, address: SocketAddr, seen: &Seen) {
    exempt_this_thread();
    let mut next: Box<dyn FnMut()> = match index % 3 {
        0 => {
            let mut client = Client::porthole(address, "/ws");
            Box::new(move || {
                seen.newest.fetch_max(client.acknowledged().sequence, SeqCst);
            })
        }
        1 => {
            let mut client = Client::bare(address, "/ws");
            Box::new(move || drop(client.binary()))
        }
        _ => {
            let mut stream = Multipart::open(address, "/stream");
            Box::new(move || drop(stream.part()))
        }
    };
    while !seen.over.load(SeqCst) {
        next();
        seen.had[index].fetch_add(1, SeqCst);
    }
}

#[test]
fn a_frame_on_its_way_to_twenty_viewers_allocates_nothing() {
    let _turn = turn();
    exempt_this_thread();
    let at_start = of_program();
    let scratch = Scratch::new();
    let file = scratch.file("clip.mjpeg", clip());
    // As fast as they can be read, which is faster than any camera.
    let source = format!("exec:while cat {}; do :; done", file.display());
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[[camera]]\nsource = {source:?}\nwidth = 160\nheight = 120\n"
    );
    let config = resolve(&Flags::default(), Path::new("porthole.toml"), &text).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let service = Service::start(config).unwrap();
            let address = service.addresses().unwrap()[0].to_string();
            tell.send(address.parse().unwrap()).unwrap();
            service.run(async { drop(stopped.await) }).await.unwrap();
        });
    });
    let address = told.recv().unwrap();

    let seen = Seen::default();
    std::thread::scope(|scope| {
        for index in 0..VIEWERS {
            let seen = &seen;
            scope.spawn(move || watch(index, address, seen));
        }
        until("everybody has had some frames", || {
            seen.had.iter().all(|count| count.load(SeqCst) >= WARM_UP).then_some(())
        });
        let (from, delivered) = (seen.newest.load(SeqCst), seen.delivered());
        let before = of_program();
        until("enough frames have been captured and delivered", || {
            let captured = u64::from(seen.newest.load(SeqCst).wrapping_sub(from));
            (captured >= FRAMES && seen.delivered() >= delivered + FRAMES).then_some(())
        });
        let during = of_program() - before;
        seen.over.store(true, SeqCst);
        assert!(before > at_start, "nothing was counted at all");
        assert_eq!(during, 0, "allocations while {FRAMES} frames went by");
    });
    stop.send(()).unwrap();
    server.join().unwrap();
}
