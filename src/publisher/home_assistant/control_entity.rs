//! What a control of a camera is in Home Assistant: a number, a switch, a select or a button.
//!
//! Its topics carry the control's value as a decimal number, also that of a switch and of a menu's item.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use crate::camera::{Control, ControlKind, MenuItem};

/// The entity for a control, without its name and topics; `None` for a control that cannot be set, or has one value only.
pub(super) fn control_entity(control: &Control) -> Option<Value> {
    if control.read_only {
        return None;
    }
    match control.kind {
        ControlKind::Integer | ControlKind::Integer64 => {
            number(control.minimum, control.maximum, control.step, "auto")
        }
        // A slider of bits says nothing.
        ControlKind::Bitmask => number(0, control.maximum, 1, "box"),
        ControlKind::Boolean => Some(json!({ "p": "switch", "pl_on": "1", "pl_off": "0" })),
        ControlKind::Menu | ControlKind::IntegerMenu => select(&control.menu),
        ControlKind::Button => Some(json!({ "p": "button", "pl_prs": "1" })),
        ControlKind::Other => None,
    }
}

/// A number. `number.py` refuses the whole entity unless the smallest value is below the largest.
fn number(minimum: i64, maximum: i64, step: u64, mode: &str) -> Option<Value> {
    let entity =
        || json!({ "p": "number", "min": minimum, "max": maximum, "step": step.max(1), "mode": mode });
    (minimum < maximum).then(entity)
}

/// A menu. Home Assistant shows and sends an item's name; the templates translate it to the item's number and back.
fn select(menu: &[MenuItem]) -> Option<Value> {
    let names = option_names(menu);
    if names.is_empty() {
        return None;
    }
    let pairs = |pair: &dyn Fn(&str, i64) -> String| {
        let pairs: Vec<String> = names.iter().zip(menu).map(|(name, item)| pair(name, item.value)).collect();
        pairs.join(",")
    };
    let names_by_value = pairs(&|name, value| format!("'{value}':{}", jinja_string(name)));
    let values_by_name = pairs(&|name, value| format!("{}:{value}", jinja_string(name)));
    Some(json!({
        "p": "select",
        "ops": names,
        "val_tpl": format!("{{{{ {{{names_by_value}}}.get(value) }}}}"),
        "cmd_tpl": format!("{{{{ {{{values_by_name}}}[value] }}}}"),
    }))
}

/// The name of each item: its label, and its number behind it where the label alone would not do. `select.py` takes `none` in
/// any case for "no item", and an empty name for no message; what a template writes is trimmed.
fn option_names(menu: &[MenuItem]) -> Vec<String> {
    let label = |item: &MenuItem| item.label.trim().to_owned();
    let name = |item: &MenuItem| {
        let label = label(item);
        let is_unique = menu.iter().filter(|other| other.label.trim() == label).count() == 1;
        match label.as_str() {
            "" => format!("({})", item.value),
            text if !is_unique || text.eq_ignore_ascii_case("none") => format!("{label} ({})", item.value),
            _ => label,
        }
    };
    menu.iter().map(name).collect()
}

/// `text` as a string in a template. Jinja reads escapes as Python does, of which those of JSON are a part.
fn jinja_string(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn control(name: &str, kind: ControlKind) -> Control {
        let item = |value, label: &str| MenuItem { value, label: label.into() };
        Control {
            id: 1,
            name: name.into(),
            label: "The Label".into(),
            kind,
            minimum: -64,
            maximum: 64,
            step: 2,
            default: 0,
            value: Some(0),
            menu: vec![item(1, "Manual Mode"), item(3, "Aperture Priority Mode")],
            read_only: false,
            inactive: false,
            affects_others: false,
        }
    }

    #[test]
    fn each_kind_of_control_becomes_the_entity_that_can_set_it() {
        let entity = |kind| control_entity(&control("test", kind));
        let number = json!({ "p": "number", "min": -64, "max": 64, "step": 2, "mode": "auto" });
        assert_eq!(entity(ControlKind::Integer), Some(number.clone()));
        assert_eq!(entity(ControlKind::Integer64), Some(number));
        let bits = json!({ "p": "number", "min": 0, "max": 64, "step": 1, "mode": "box" });
        assert_eq!(entity(ControlKind::Bitmask), Some(bits));
        let switch = json!({ "p": "switch", "pl_on": "1", "pl_off": "0" });
        assert_eq!(entity(ControlKind::Boolean), Some(switch));
        assert_eq!(entity(ControlKind::Button), Some(json!({ "p": "button", "pl_prs": "1" })));
        assert_eq!(entity(ControlKind::Other), None);
        let select = json!({
            "p": "select",
            "ops": ["Manual Mode", "Aperture Priority Mode"],
            "val_tpl": r#"{{ {'1':"Manual Mode",'3':"Aperture Priority Mode"}.get(value) }}"#,
            "cmd_tpl": r#"{{ {"Manual Mode":1,"Aperture Priority Mode":3}[value] }}"#,
        });
        assert_eq!(entity(ControlKind::Menu), Some(select.clone()));
        assert_eq!(entity(ControlKind::IntegerMenu), Some(select));
    }

    #[test]
    fn what_cannot_be_set_is_no_entity() {
        let read_only = Control { read_only: true, ..control("test", ControlKind::Boolean) };
        assert_eq!(control_entity(&read_only), None);
        for kind in [ControlKind::Integer, ControlKind::Bitmask] {
            let fixed = Control { minimum: 0, maximum: 0, ..control("test", kind) };
            assert_eq!(control_entity(&fixed), None, "Home Assistant refuses a range of one value");
        }
        let empty = Control { menu: vec![], ..control("test", ControlKind::Menu) };
        assert_eq!(control_entity(&empty), None);
        let no_step = Control { step: 0, ..control("test", ControlKind::Integer) };
        assert_eq!(control_entity(&no_step).unwrap()["step"], 1, "Home Assistant refuses a step of 0");
    }

    #[test]
    fn items_of_a_menu_have_names_that_home_assistant_tells_apart() {
        let menu = [(0, "None"), (1, "Sepia"), (2, " Sepia "), (3, ""), (4, "50 Hz "), (5, "none")];
        let menu: Vec<_> =
            menu.iter().map(|&(value, label)| MenuItem { value, label: label.into() }).collect();
        let names = ["None (0)", "Sepia (1)", "Sepia (2)", "(3)", "50 Hz", "none (5)"];
        assert_eq!(option_names(&menu), names);
        let quoted = MenuItem { value: 7, label: "a \"quote\", a \\ and }}".into() };
        let entity = select(&[quoted]).unwrap();
        assert_eq!(entity["cmd_tpl"], r#"{{ {"a \"quote\", a \\ and }}":7}[value] }}"#);
    }
}
