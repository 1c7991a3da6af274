//! The message at `CAMERA/control/NAME/set`: a value, as `PUT /controls/NAME` takes it, or as plain text.
#![forbid(unsafe_code)]

use serde::Deserialize;

use crate::camera::ControlValue;

/// Most bytes of a message. All valid ones are far shorter.
const MOST_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(untagged)]
enum SetJson {
    Body {
        value: ControlValue,
    },
    Bare(ControlValue),
    /// Programs that know no whole numbers write 5.0.
    Fraction(f64),
}

/// Reads a message.
///
/// # Errors
/// What is wrong with it.
pub fn parse(payload: &[u8]) -> Result<ControlValue, String> {
    const FORM: &str =
        r#"it must be a number, true, false, the name of a menu item, or {"value": ...} with one of them"#;
    if payload.len() > MOST_BYTES {
        return Err(FORM.into());
    }
    match serde_json::from_slice(payload) {
        Ok(SetJson::Body { value } | SetJson::Bare(value)) => Ok(value),
        // Whole numbers up to 2^53 are exact.
        Ok(SetJson::Fraction(number)) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
            Ok(ControlValue::Number(number as i64))
        }
        Ok(SetJson::Fraction(_)) => Err(FORM.into()),
        Err(_) => {
            let text = std::str::from_utf8(payload).map_err(|_| FORM)?.trim();
            let is_name =
                !text.is_empty() && !text.starts_with(['{', '[']) && !text.chars().any(char::is_control);
            if is_name && text != "null" { Ok(ControlValue::Item(text.to_owned())) } else { Err(FORM.into()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_put_takes_it_and_as_plain_text() {
        for (payload, value) in [
            ("5", ControlValue::Number(5)),
            ("-5.0", ControlValue::Number(-5)),
            ("true", ControlValue::Switch(true)),
            ("\"50 Hz\"", ControlValue::Item("50 Hz".into())),
            ("50 Hz", ControlValue::Item("50 Hz".into())),
            (r#"{"value": "50 Hz"}"#, ControlValue::Item("50 Hz".into())),
            (r#"{"value": 7}"#, ControlValue::Number(7)),
        ] {
            assert_eq!(parse(payload.as_bytes()), Ok(value), "{payload}");
        }
        for payload in
            [&b""[..], b"null", b"[1]", b"{}", b"0.5", b"1e300", b"\xff", b"a\nb", &[b'1'; MOST_BYTES + 1]]
        {
            assert!(parse(payload).is_err(), "{}", String::from_utf8_lossy(payload));
        }
    }
}
