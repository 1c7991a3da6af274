//! What cards of several tests say of the service and the network. Nothing here boots.

/// The board's own LED is behind a chip that QEMU does not emulate, so these are on GPIO lines.
pub const CAMERA: &str = "[[camera]]\nwidth = 640\nheight = 480\nfps = 5\nlinger_s = 0\n\
                          [[led]]\nrole = \"power\"\nline = \"GPIO23\"\n[[led]]\nrole = \"on-air\"\n";
/// Nobody is asked for a password.
pub const OPEN: &str = "[auth]\nmode = \"none\"\n";
/// The password of cards that have one, and as it is in a URL.
pub const PASSWORD: &str = "a secret of ten";
pub const PASSWORD_IN_URL: &str = "a%20secret%20of%20ten";
/// Succeeds when the service answers, whether it asks for that password or for none.
pub const SERVES: &str = "timeout 60 wget -q -O - 'http://127.0.0.1/healthz?token=a%20secret%20of%20ten'";

/// A camera whose program wants more memory than it may have.
const GREEDY: &str = "[[camera]]\nname = \"greedy\"\nlinger_s = 0\n\
                      source = 'exec:exec dd if=/dev/zero bs=400M'\n";
/// A camera whose program starts programs for ever.
const FERTILE: &str = "[[camera]]\nname = \"fertile\"\nlinger_s = 0\n\
                       source = 'exec:while :; do sleep 600 & done'\n";

/// Cameras that want more than the unit allows, beside one that does not.
pub fn confined() -> String {
    format!("{OPEN}{CAMERA}{GREEDY}{FERTILE}")
}

/// The name of a Wi-Fi, as people call theirs.
pub const WIFI: &str = "Garden \u{1f426} \"5\"";
pub const PASSPHRASE: &str = "eleven years and a day";

/// Another, which takes WPA3 only and does not tell its name.
pub const SECOND_WIFI: &str = "Workshop";
pub const SECOND_PASSPHRASE: &str = "no \"quotes\" at all";

/// `network.toml` for both.
pub fn wifi() -> String {
    format!(
        "[wifi]\ncountry = \"DE\"\nssid = '{WIFI}'\npassphrase = \"{PASSPHRASE}\"\naddress = \"192.168.88.20/24\"\n\
         [second_wifi]\nssid = \"{SECOND_WIFI}\"\nwpa3 = true\nhidden = true\npassphrase = '{SECOND_PASSPHRASE}'\n"
    )
}
