//! What all lists share: a table of chosen columns, a template of one's own, or JSON lines.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::format::table;
use crate::format::template::Template;

/// A column: the field that a template names, and the header above it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) field: &'static str,
    pub(crate) header: &'static str,
}

/// Prints rows: as a table of `columns`, or as `--format` says. `more` are columns that only a
/// template of one's own shows.
pub(crate) fn print(
    format: Option<&str>,
    columns: &[Column],
    more: &[Column],
    rows: &[Value],
) -> Result<i32> {
    print!("{}", render(format, columns, more, rows)?);
    Ok(0)
}

/// The same as text.
pub(crate) fn render(
    format: Option<&str>,
    columns: &[Column],
    more: &[Column],
    rows: &[Value],
) -> Result<String> {
    match format {
        None | Some("" | "table") => {
            let mut cells = vec![columns.iter().map(|column| column.header.to_owned()).collect()];
            cells.extend(rows.iter().map(|row| {
                columns.iter().map(|column| text(&row[column.field])).collect::<Vec<_>>()
            }));
            Ok(table::render(&cells))
        }
        Some("json" | "{{json .}}") => Ok(rows.iter().map(|row| format!("{row}\n")).collect()),
        Some(format) => {
            let body = format.strip_prefix("table ");
            let template = Template::parse(body.unwrap_or(format))?;
            let known = |field: &String| {
                columns.iter().chain(more).find(|column| column.field == field.as_str())
            };
            if let Some(unknown) = template
                .fields()
                .iter()
                .find(|field| known(field).is_none() && !field.contains('.'))
                && rows.first().is_none_or(|row| row.get(unknown.as_str()).is_none())
            {
                return Err(Error::Usage(format!(
                    "the template asks for .{unknown}, which is no field here"
                )));
            }
            let lines = rows
                .iter()
                .map(|row| template.render(row))
                .collect::<std::result::Result<Vec<_>, _>>()?;
            if body.is_none() {
                return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
            }
            let headers = template.fields();
            let header = headers.iter().map(|field| {
                known(field).map_or_else(|| field.to_uppercase(), |column| column.header.to_owned())
            });
            let mut cells = vec![header.collect::<Vec<_>>()];
            cells.extend(lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()));
            Ok(table::render(&cells))
        }
    }
}

/// A value in a cell.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    const COLUMNS: &[Column] =
        &[Column { field: "ID", header: "ID" }, Column { field: "Name", header: "NAME" }];

    fn show(format: Option<&str>) -> String {
        let rows = [json!({"ID": "1", "Name": "web"}), json!({"ID": "2", "Name": "db"})];
        render(format, COLUMNS, &[], &rows).unwrap_or_else(|err| format!("! {err}\n"))
    }

    #[test]
    fn formats() {
        expect![[r"
            ID        NAME
            1         web
            2         db
        "]]
        .assert_eq(&show(None));
        expect![[r"
            NAME      ID
            web       1
            db        2
        "]]
        .assert_eq(&show(Some("table {{.Name}}\t{{.ID}}")));
        expect![[r"
            web=1
            db=2
        "]]
        .assert_eq(&show(Some("{{.Name}}={{.ID}}")));
        expect![[r"
            ! the template asks for .Nope, which is no field here
        "]]
        .assert_eq(&show(Some("{{.Nope}}")));
    }
}
