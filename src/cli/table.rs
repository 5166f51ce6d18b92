//! Columns of text, as wide as they need to be, and how prices and times look in them.

use crate::domain::deployment::Cost;

/// Returns lines with the cells of each column aligned. Trailing blanks are left out.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Returns one row from anything that reads as text.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// Returns `1 node` or `3 nodes`.
pub fn nodes(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

/// Returns how long ago something was, roughly: `5 m`, `3 h`, `2 d`.
pub fn age(since: jiff::Timestamp) -> String {
    let age = jiff::Timestamp::now().duration_since(since);
    crate::base::units::roughly(age.try_into().unwrap_or_default())
}

/// `1.20 USD`, `unknown`
pub fn short_price(cost: &Cost) -> String {
    cost.hourly.map_or_else(|| "unknown".to_owned(), |price| format!("{price} {}", cost.currency))
}

/// `1.20 USD an hour`, `unknown (x9.large has no price; the rest is 1.20 USD an hour)`
pub fn long_price(cost: &Cost) -> String {
    let hour = |price| format!("{price} {} an hour", cost.currency);
    match cost.hourly {
        Some(price) => hour(price),
        None => format!("unknown ({} has no price; the rest is {})", cost.unknown.join(", "), hour(cost.at_least)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_align() {
        let rows = [row(["NAME", "STATUS"]), row(["server-0", "running"]), row(["x", ""])];
        assert_eq!(columns(&rows), "NAME      STATUS\nserver-0  running\nx\n");
    }
}
