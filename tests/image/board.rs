//! The boards that QEMU emulates, as far as it does.

/// A board.
pub struct Board {
    /// What QEMU calls it.
    pub machine: &'static str,
    /// The device tree that its firmware takes.
    pub tree: &'static str,
    /// What is changed in that tree, as arguments of `fdtput`: the kernel would wait for what QEMU does not emulate.
    pub changes: &'static [&'static [&'static str]],
    /// Address of the first level register of its GPIO, GPLEV0.
    pub levels: u32,
    /// Which of the two serial ports of QEMU is the console.
    pub console: usize,
    /// More for the kernel's command line.
    pub kernel: &'static str,
}

/// QEMU 5.2 and newer has it. The console is the small UART, as on the board.
pub static RASPBERRY_PI_3B: Board = Board {
    machine: "raspi3b",
    tree: "bcm2837-rpi-3-b.dtb",
    changes: &[],
    // BCM2835 ARM Peripherals, with the peripherals of the BCM2837.
    levels: 0x3f20_0034,
    console: 1,
    kernel: "",
};

/// QEMU 9.0 and newer has it, without PCI Express, so without USB, and without Ethernet. It does not emulate the small UART as
/// far as the kernel wants it, so the console is the large one.
pub static RASPBERRY_PI_4B: Board = Board {
    machine: "raspi4b",
    tree: "bcm2711-rpi-4-b.dtb",
    changes: &[
        // HDMI: the kernel panics where there are no registers.
        &["-t", "s", "TREE", "/soc/interrupt-controller@7ef00100", "status", "disabled"],
        &["-t", "s", "TREE", "/soc/clock@7ef00000", "status", "disabled"],
        &["-t", "s", "TREE", "/soc/hdmi@7ef00700", "status", "disabled"],
        &["-t", "s", "TREE", "/soc/hdmi@7ef05700", "status", "disabled"],
        &["-t", "s", "TREE", "/soc/i2c@7ef04500", "status", "disabled"],
        &["-t", "s", "TREE", "/soc/i2c@7ef09500", "status", "disabled"],
        // Bluetooth, which has the large UART.
        &["-r", "TREE", "/soc/serial@7e201000/bluetooth"],
        // QEMU puts the card at the controller that the board has its Wi-Fi at, and has no lines of the firmware to switch power.
        &["-t", "s", "TREE", "/emmc2-bus@fe000000/mmc@7e340000", "status", "disabled"],
        &["-r", "TREE", "/soc/mmc@7e300000/wifi@1"],
        &["-d", "TREE", "/soc/mmc@7e300000", "mmc-pwrseq", "non-removable"],
        &["TREE", "/soc/mmc@7e300000", "broken-cd"],
        // Its red LED is at such a line.
        &["-r", "TREE", "/leds/led-pwr"],
    ],
    // BCM2711 ARM Peripherals, in the low peripheral mode.
    levels: 0xfe20_0034,
    console: 0,
    kernel: "initcall_blacklist=bcm2835aux_serial_driver_init console=ttyAMA0,115200",
};
