//! A new version that says what a good one says when it is asked, and then serves nothing: for the test of updates.

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("--version") => println!("porthole 9.9.9"),
        Some("run") => loop {
            std::thread::park();
        },
        // `--log error check`, among others.
        _ => {}
    }
}
