//! What was looked at, drawn: three small charts above each other, readable on light and on dark pages.

use std::fmt::Write;

use crate::Sample;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 130.0;
/// Left of the charts, for figures.
const MARGIN: f64 = 64.0;
const GAP: f64 = 44.0;
const TOP: f64 = 34.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#57606a}.t{font-weight:600;fill:#24292f}\
.g{stroke:#d0d7de}.b{fill:none;stroke:#8c959f;stroke-width:1}.q{fill:none;stroke:#0969da;stroke-width:2}\
@media(prefers-color-scheme:dark){text{fill:#8b949e}.t{fill:#e6edf3}.g{stroke:#30363d}.b{stroke:#6e7681}\
.q{stroke:#58a6ff}}";

/// One figure of a sample, and what it is called.
type Figure = (&'static str, fn(&Sample) -> f64);

const FIGURES: [Figure; 3] = [
    ("Memory (RSS), MB", |s| s.rss_kb as f64 / 1024.0),
    ("Descriptors", |s| s.descriptors as f64),
    ("Threads", |s| s.threads as f64),
];

/// An SVG of all samples.
pub fn draw(samples: &[Sample]) -> String {
    let (width, height) = (MARGIN + WIDTH + 16.0, TOP + 3.0 * (HEIGHT + GAP));
    let end = samples.last().map_or(1.0, |sample| sample.at);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\
         <title>Memory, descriptors and threads over {:.0} minutes</title><style>{STYLE}</style>\n",
        end / 60.0
    );
    for (index, (name, figure)) in FIGURES.iter().enumerate() {
        chart(&mut svg, TOP + index as f64 * (HEIGHT + GAP), (name, *figure), samples, end);
    }
    svg + "</svg>\n"
}

fn chart(
    svg: &mut String,
    top: f64,
    (name, figure): (&str, fn(&Sample) -> f64),
    samples: &[Sample],
    end: f64,
) {
    let most = samples.iter().map(figure).fold(1.0, f64::max) * 1.1;
    let x = |sample: &Sample| MARGIN + sample.at / end * WIDTH;
    let y = |value: f64| top + HEIGHT * (1.0 - value / most);
    let mut put = |text: std::fmt::Arguments<'_>| svg.write_fmt(text).unwrap();
    put(format_args!("<text class=\"t\" x=\"{MARGIN}\" y=\"{}\">{name}</text>\n", top - 8.0));
    for step in 0..=2 {
        let value = most / 1.1 * f64::from(step) / 2.0;
        let (at, right) = (y(value), MARGIN + WIDTH);
        put(format_args!("<line class=\"g\" x1=\"{MARGIN}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>"));
        let (left, digits) = (MARGIN - 8.0, usize::from(most < 20.0));
        put(format_args!(
            "<text x=\"{left}\" y=\"{:.1}\" text-anchor=\"end\">{value:.digits$}</text>\n",
            at + 4.0
        ));
    }
    for tick in 0..=5 {
        let (share, below) = (f64::from(tick) / 5.0, top + HEIGHT + 16.0);
        let (at, minutes) = (MARGIN + share * WIDTH, end / 60.0 * share);
        let unit = if tick == 5 { " min" } else { "" };
        put(format_args!(
            "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{minutes:.0}{unit}</text>"
        ));
    }
    let line = |samples: &mut dyn Iterator<Item = &Sample>| -> String {
        samples.map(|sample| format!("{:.1},{:.1} ", x(sample), y(figure(sample)))).collect()
    };
    let (all, quiet) =
        (line(&mut samples.iter()), line(&mut samples.iter().filter(|sample| sample.is_quiet)));
    put(format_args!("\n<polyline class=\"b\" points=\"{}\"/>", all.trim_end()));
    put(format_args!("\n<polyline class=\"q\" points=\"{}\"/>\n", quiet.trim_end()));
    if top == TOP {
        let (at, baseline) = (MARGIN + WIDTH, top - 8.0);
        put(format_args!(
            "<text x=\"{at}\" y=\"{baseline}\" text-anchor=\"end\">grey: all the time; blue: with nobody watching</text>\n"
        ));
    }
}
