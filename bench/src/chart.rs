//! The comparison as a picture.

use serde_json::Value;
use std::fmt::Write;

const BAR: usize = 18;
const WIDTH: f64 = 420.0;

/// CPU time per request of the small GETs as an SVG bar chart.
pub(crate) fn svg(rows: &[Value]) -> String {
    let rows: Vec<&Value> = rows.iter().filter(|r| r["what"] == "GET 128 B").collect();
    let longest = rows.iter().filter_map(|r| r["cpu_us"].as_f64()).fold(1.0, f64::max);
    let height = 60 + rows.len() * (BAR + 6);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"16\" y=\"26\" font-size=\"15\" font-weight=\"bold\">CPU time per proxied request, µs (less is better)</text>"
    );
    for (i, row) in rows.iter().enumerate() {
        let (y, us) = (44 + i * (BAR + 6), row["cpu_us"].as_f64().unwrap_or(0.0));
        let name = row["proxy"].as_str().unwrap_or_default();
        let colour = match name {
            "oxgate" => "#c2410c",
            "relay" => "#9ca3af",
            _ => "#475569",
        };
        let length = us / longest * WIDTH;
        let _ = write!(
            out,
            "<text x=\"16\" y=\"{}\">{name}, {} connections</text><rect x=\"190\" y=\"{y}\" width=\"{length:.0}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{}\">{us:.1}</text>",
            y + 14,
            row["connections"],
            196.0 + length,
            y + 14
        );
    }
    out.push_str("</svg>\n");
    out
}
