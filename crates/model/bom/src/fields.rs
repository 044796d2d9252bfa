//! Paragraphs of fields, as mail has them: `NAME: VALUE`, and lines that go on with a space.

/// Fields of a paragraph at most: what follows is passed over.
const MOST: usize = 1024;

/// A paragraph's fields, in their order. Lines that are none are passed over.
pub(crate) fn fields(paragraph: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in paragraph.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = found.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            if found.len() == MOST {
                break;
            }
            found.push((name.trim(), value.trim().to_owned()));
        }
    }
    found
}

/// The first value of a field, whatever its case.
pub(crate) fn get<'a>(fields: &'a [(&str, String)], name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// Paragraphs, between empty lines.
pub(crate) fn paragraphs(whole: &str) -> impl Iterator<Item = &str> {
    let mut rest = whole;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(['\n', '\r']);
            if rest.is_empty() {
                return None;
            }
            let end = rest.find("\n\n").unwrap_or(rest.len());
            let (paragraph, after) = rest.split_at(end);
            rest = after;
            if !paragraph.trim().is_empty() {
                return Some(paragraph);
            }
        }
    })
}
