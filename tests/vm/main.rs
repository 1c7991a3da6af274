//! The service for ARM on a real kernel with real drivers, in a virtual machine, watched from this host.
//!
//! `scripts/vm-test` builds what the machine is made of and calls this; on its own it does nothing. One machine is
//! booted for all tests, which run one after the other: a camera can only be pulled out by one of them at a time.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod guest;
mod inputs;
mod leds;
mod lines;
mod losing;
mod machine;
mod presence;
mod viewer;
mod watching;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use guest::Guest;
use machine::Machine;

type Test = (&'static str, fn(&Guest));

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        [$((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),*]
    };
}

const TESTS: &[Test] = &tests![
    lines::a_line_can_be_seen_from_outside,
    watching::vivid_is_encoded,
    watching::usb_cameras_pass_through,
    watching::two_cameras_at_once,
    watching::every_frame_of_a_camera_is_accounted_for,
    watching::a_listing_shows_the_cameras_and_their_settings,
    presence::an_unwatched_usb_camera_is_off,
    presence::an_unwatched_vivid_is_off,
    losing::an_unplugged_camera_comes_back_by_itself,
    losing::it_is_followed_to_another_number,
    losing::another_camera_of_the_same_kind_is_not_shown_instead,
    losing::a_camera_that_comes_late_is_found,
    losing::the_first_camera_of_all_is_found,
    losing::what_its_controls_were_set_to_it_is_told_again,
    losing::the_page_says_that_it_is_gone,
    losing::a_driver_that_is_taken_away_is_waited_for,
    losing::a_stall_is_noticed_and_ends,
    losing::a_refused_start_is_reported_and_tried_again,
    losing::a_camera_in_use_is_named_with_its_user,
    losing::a_metadata_node_is_answered_with_the_camera_beside_it,
    leds::they_follow_the_audience,
    leds::a_snapshot_is_on_air_too,
    leds::a_fault_is_counted_by_its_cause,
    leds::a_stop_leaves_them_dark,
    leds::the_privacy_light_is_dark_after_a_kill,
    leds::a_wire_can_be_tried_out,
    leds::a_line_that_cannot_be_had_is_told_apart,
    leds::the_packaged_user_has_all_it_needs_and_no_more,
    leds::an_led_of_the_board_is_taken_over_and_given_back,
    losing::fifty_losses_leave_nothing_behind,
    // After the look at the kernel's log: vivid traces its own lateness there, where it has more to draw than the emulated
    // processor can.
    inputs::every_input_of_vivid_is_shown,
    inputs::an_hdmi_signal_is_followed_and_missed,
    inputs::every_format_of_vivid_shows_its_bars,
    inputs::every_format_of_a_multi_planar_vivid_shows_its_bars,
];

fn main() -> ExitCode {
    let Some(folder) = std::env::var_os("PORTHOLE_VM") else {
        println!("skipped: scripts/vm-test runs these tests, in a virtual machine");
        return ExitCode::SUCCESS;
    };
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let began = Instant::now();
    let guest = Guest::new(Machine::boot(Path::new(&folder)));
    println!("booted in {:.1} s", began.elapsed().as_secs_f32());
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| {
            guest.reset();
            test(&guest);
        }));
        let seconds = began.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                passed += 1;
                println!("ok      {name} ({seconds:.1} s)");
            }
            Err(_) => {
                failed += 1;
                println!("FAILED  {name} ({seconds:.1} s)");
                println!("{}", catch_unwind(AssertUnwindSafe(|| guest.account())).unwrap_or_default());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
