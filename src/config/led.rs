//! Validation of `[[led]]`.
#![forbid(unsafe_code)]

use super::error::{ConfigError, ValueOrigin};
use super::keys::LedSection;
use super::resolver::Resolver;
use crate::board::Board;
use crate::led;

/// Resolves an LED; `before` are those that stand above it in the file.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    section: LedSection,
    board: &Board,
    before: &[led::LedSettings],
) -> Result<led::LedSettings, ConfigError> {
    resolver.report_section("[[led]]");
    let has_line = section.line.value.is_some();
    let role = resolver.value_or(section.role, None, String::new()).check(|text| {
        let role: led::LedRole = text.parse()?;
        if before.iter().any(|led| led.role == role) {
            return Err("has an LED already".into());
        }
        if !has_line && board.led(role).is_empty() {
            return Err(format!(
                "needs a line, as board {} has none for it: add line = \"GPIO17\"",
                board.id()
            ));
        }
        Ok(role)
    })?;
    let lines = match resolver.given(section.line) {
        Some(line) => vec![line.check(|text| text.parse())?],
        None => {
            let lines = board.led(role).to_vec();
            let origin = ValueOrigin::Board(board.id().to_owned());
            let text: Vec<String> = lines.iter().map(led::LedLine::to_string).collect();
            match &text[..] {
                [line] => resolver.report_value("line", line, origin),
                _ => resolver
                    .report_comment(format!("line: {}, whichever there is first", text.join(" or ")), origin),
            }
            lines
        }
    };
    let taken = |line: &led::LedLine| before.iter().find(|led| led.lines.contains(line)).map(|led| led.role);
    if let Some((line, other)) = lines.iter().find_map(|line| Some((line, taken(line)?))) {
        return Err(ConfigError::Led { role, line: line.to_string(), other });
    }
    let active_low = resolver.value(section.active_low, None).accept();
    let required = resolver.value(section.required, None).accept();
    Ok(led::LedSettings { role, lines, active_low, required })
}
