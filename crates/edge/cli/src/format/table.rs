//! Columns as Go's tabwriter lays them out for Docker: padded to the widest cell of the column and
//! three spaces, the last column as it is. Scripts read this, so it stays byte for byte.

/// Spaces between two columns.
const GAP: usize = 3;
/// Docker's narrowest cell, the gap included.
const NARROWEST: usize = 10;

/// The narrowest cell of `top`, the gap included.
const NARROWEST_OF_TOP: usize = 20;

/// Lays out rows of cells, the header first. Each line ends with a newline.
pub(crate) fn render(rows: &[Vec<String>]) -> String {
    lay_out(rows, NARROWEST)
}

/// The same with the wider columns that `top` has.
pub(crate) fn render_wide(rows: &[Vec<String>]) -> String {
    lay_out(rows, NARROWEST_OF_TOP)
}

fn lay_out(rows: &[Vec<String>], narrowest: usize) -> String {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns)
        .map(|column| {
            let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
            (widest.max().unwrap_or(0) + GAP).max(narrowest)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                out.extend(std::iter::repeat_n(' ', widths[column] - width(cell)));
            }
        }
        out.push('\n');
    }
    out
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    #[test]
    fn columns_line_up_and_the_last_is_not_padded() {
        let rows = [
            vec!["CONTAINER ID".to_owned(), "X".to_owned(), "NAMES".to_owned()],
            vec!["abc".to_owned(), "a long cell".to_owned(), "web".to_owned()],
        ];
        expect![[r"
            CONTAINER ID   X             NAMES
            abc            a long cell   web
        "]]
        .assert_eq(&super::render(&rows));
        let wide = super::render_wide(&rows);
        assert_eq!(wide.lines().last(), Some("abc                 a long cell         web"));
    }
}
