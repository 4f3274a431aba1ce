//! A drawing of the rows as SVG: a line for each set of hosts, a column for each graph.

use std::fmt::Write as _;

use super::order::Row;

/// Where the first column begins and how wide one is.
const LEFT: f64 = 210.0;
const COLUMN: f64 = 125.0;
const BARS: f64 = 108.0;
/// Where the first line begins and how high one is.
const TOP: f64 = 84.0;
const LINE: f64 = 30.0;
/// The longest bar, as a part of the bound; what takes longer is cut.
const MOST: f64 = 2.0;
const RULES: [(&str, &str); 3] = [
    ("mstore", "#1f77b4"),
    ("longest path", "#ff9f40"),
    ("dpb's rule", "#9a9a9a"),
];

/// Draws how long each row takes by each rule, beside its bound.
pub fn svg(title: &str, rows: &[Row]) -> String {
    let mut graphs: Vec<&str> = rows.iter().map(|row| &*row.graph).collect();
    graphs.dedup();
    let mut parks: Vec<&str> = Vec::new();
    for row in rows {
        if !parks.contains(&&*row.park.title) {
            parks.push(&row.park.title);
        }
    }
    let width = LEFT + COLUMN * graphs.len() as f64 + 10.0;
    let height = TOP + LINE * parks.len() as f64 + 10.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    text(&mut out, 12.0, 20.0, "start", title);
    for ((rule, colour), x) in RULES.into_iter().zip([12.0, 100.0, 215.0]) {
        bar(&mut out, (x, 32.0), (10.0, 10.0), colour);
        text(&mut out, x + 15.0, 41.0, "start", rule);
    }
    let legend = "The lines are the bound, which no order can beat, and twice the bound; a bar that reaches the second may go on.";
    text(&mut out, 330.0, 41.0, "start", legend);
    for (graph, at) in graphs.iter().zip(0..) {
        let x = LEFT + COLUMN * f64::from(at);
        text(&mut out, x, 70.0, "start", graph);
        for part in [1.0, 2.0] {
            let x = x + BARS * part / MOST;
            let _ = writeln!(
                out,
                "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"#444\" stroke-width=\"0.6\"/>",
                TOP - 6.0,
                height - 8.0
            );
        }
    }
    for (park, at) in parks.iter().zip(0..) {
        let y = TOP + LINE * f64::from(at);
        text(&mut out, LEFT - 10.0, y + 14.0, "end", park);
    }
    for row in rows {
        let place = |list: &[&str], name: &str| list.iter().position(|one| *one == name);
        let column = place(&graphs, &row.graph).unwrap_or(0) as f64;
        let line = place(&parks, &row.park.title).unwrap_or(0) as f64;
        let mut y = TOP + LINE * line;
        for (seconds, (_, colour)) in [row.engine, row.longest_path, row.dpb]
            .into_iter()
            .zip(RULES)
        {
            let part = (seconds / row.bound()).min(MOST) / MOST;
            bar(
                &mut out,
                (LEFT + COLUMN * column, y),
                (BARS * part, 6.0),
                colour,
            );
            y += 7.0;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn bar(out: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
