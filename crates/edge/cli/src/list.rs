//! What all lists share: a table of chosen columns, a template of one's own, or JSON lines.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::format::table;
use crate::format::template::{LABEL, Template};

/// A column: the field that a template names, and the header above it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) field: &'static str,
    pub(crate) header: &'static str,
}

/// The name of the format that has the fields one below the other.
pub(crate) const RAW: &str = "raw";

/// A format; where it is [`RAW`], what that stands for in the list.
pub(crate) fn or_raw<'f>(format: Option<&'f str>, raw: &'f str) -> Option<&'f str> {
    if format == Some(RAW) { Some(raw) } else { format }
}

/// What stands before a name where only names are asked for, one in each line.
pub(crate) fn quiet<'f>(format: Option<&str>, raw: &'f str) -> &'f str {
    if format == Some(RAW) { raw } else { "" }
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
        Some("json" | "{{json .}}") => {
            Ok(rows.iter().map(|row| format!("{}\n", without_labels(row))).collect())
        }
        Some(format) => by_template(format, &[columns, more].concat(), rows),
    }
}

fn by_template(format: &str, columns: &[Column], rows: &[Value]) -> Result<String> {
    let body = format.strip_prefix("table");
    let template = Template::parse_row(body.unwrap_or(format))?;
    let known = |field: &str| columns.iter().any(|column| column.field == field);
    if let Some(unknown) = template
        .fields()
        .iter()
        .find(|field| !known(field) && !field.contains('.') && *field != LABEL)
        && rows.first().is_none_or(|row| row.get(unknown.as_str()).is_none())
    {
        return Err(Error::Usage(format!(
            "the template asks for .{unknown}, which is no field here"
        )));
    }
    let lines =
        rows.iter().map(|row| template.render(row)).collect::<std::result::Result<Vec<_>, _>>()?;
    if body.is_none() {
        return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
    }
    let header = template.render_header(&headers(columns, rows.first()))?;
    let lines = std::iter::once(&header).chain(&lines).flat_map(|line| line.split('\n'));
    let cells: Vec<Vec<String>> =
        lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    Ok(table::render(&cells))
}

/// The header of every column, by its field. What is in the rows and is no column has its name.
fn headers(columns: &[Column], row: Option<&Value>) -> Value {
    let names = row.and_then(Value::as_object).into_iter().flat_map(|row| row.keys());
    let mut headers: serde_json::Map<String, Value> =
        names.map(|name| (name.clone(), name.to_uppercase().into())).collect();
    let known = columns.iter().map(|column| (column.field.to_owned(), column.header.into()));
    headers.extend(known);
    headers.into()
}

/// Gives a row its labels: all in one text as a field, and one by one for `.Label "NAME"`.
pub(crate) fn with_labels<'a>(
    mut row: Value,
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.into_iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let pairs: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
    row["Labels"] = pairs.join(",").into();
    row[LABEL] = labels.into();
    row
}

/// Rows as they are shown whole.
pub(crate) fn shown(rows: &[Value]) -> Vec<Value> {
    rows.iter().map(without_labels).collect()
}

/// A row as it is shown whole.
fn without_labels(row: &Value) -> Value {
    let mut row = row.clone();
    if let Some(row) = row.as_object_mut().filter(|row| row.contains_key("Labels")) {
        row.remove(LABEL);
    }
    row
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
        // The header is what the template makes of the headers, functions or not.
        expect![[r"
            NAME: ID (IDID)   NAME
            web: 1 (11)       WEB
            db: 2 (22)        DB
        "]]
        .assert_eq(&show(Some("table {{.Name}}: {{.ID}} ({{.ID}}{{.ID}})\\t{{upper .Name}}")));
    }

    #[test]
    fn fields_one_below_the_other() {
        let raw = "id: {{.ID}}\nname: {{- pad .Name 1 0}}\n";
        assert_eq!(show(or_raw(Some("raw"), raw)), "id: 1\nname: web\n\nid: 2\nname: db\n\n");
        assert_eq!((or_raw(Some("json"), raw), or_raw(None, raw)), (Some("json"), None));
        assert_eq!((quiet(Some("raw"), "id: "), quiet(Some("{{.ID}}"), "id: ")), ("id: ", ""));
    }

    #[test]
    fn a_label_by_its_name() {
        let labels = [("com.x.a-b".to_owned(), "1,2".to_owned()), ("k".to_owned(), String::new())];
        let row = with_labels(json!({"ID": "1"}), labels.iter().map(|(key, value)| (key, value)));
        let more = &[Column { field: "Labels", header: "LABELS" }];
        let show =
            |format| render(Some(format), COLUMNS, more, std::slice::from_ref(&row)).unwrap();
        assert_eq!(show("{{.Label \"com.x.a-b\"}}|{{.Label \"none\"}}|{{.ID}}"), "1,2||1\n");
        assert_eq!(show("{{.Labels}}"), "com.x.a-b=1,2,k=\n");
        assert_eq!(show("table {{.Label \"com.x.a-b\"}}"), "a b\n1,2\n");
        assert_eq!(show("json"), "{\"ID\":\"1\",\"Labels\":\"com.x.a-b=1,2,k=\"}\n");
    }
}
