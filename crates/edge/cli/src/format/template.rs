//! Go's text/template, as far as `--format` uses it: fields, pipes, functions, `if`, `range`,
//! `with`, variables, and trimming, over JSON values.

mod eval;
mod functions;
mod parse;

use serde_json::Value;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

/// Why a template cannot be used: what is wrong, and in which action.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("template parsing error: {0}")]
pub(crate) struct Error(String);

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Template {
    /// Parses the text of a template. `\t` and `\n` in it stand for the characters, as in Docker.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self { nodes: parse::parse(&text)? })
    }

    /// What the template makes of one value.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Error> {
        eval::render(&self.nodes, value)
    }

    /// The fields that stand alone at the top level, in order: the header of a table.
    pub(crate) fn fields(&self) -> Vec<String> {
        parse::top_level_fields(&self.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(template: &str, want: &str) {
        let value = json!({
            "Name": "/web", "Id": "abc", "Pid": 7, "Ok": true, "Ports": {"80/tcp": [{"HostPort": "8080"}], "90/udp": null},
            "Nets": {"a": {"IP": "10.0.0.2"}, "b": {"IP": "10.0.1.2"}}, "List": ["x", "y"], "Empty": "",
            "Bytes": 1_234_567_890_123_i64, "Descriptor": {"mediaType": "x/y", "digest": "sha256:1"},
        });
        let got = Template::parse(template).and_then(|t| t.render(&value));
        assert_eq!(got.as_deref().map_err(ToString::to_string), Ok(want), "{template}");
    }

    #[test]
    fn fields_and_literals() {
        check("{{.Name}} {{ .Pid }} {{.Ok}}", "/web 7 true");
        check("{{\"quoted \\\"x\\\"\"}}{{`raw`}}", "quoted \"x\"raw");
        check("{{.Nets.a.IP}}", "10.0.0.2");
        check("{{.Missing}}", "<no value>");
        check("{{.Bytes}}", "1234567890123");
        check("{{.Descriptor.Digest}} {{.Descriptor.mediaType}}", "sha256:1 x/y");
        check("{{.Nets.A.IP}}", "<no value>");
    }

    #[test]
    fn functions_and_pipes() {
        check("{{json .List}}", "[\"x\",\"y\"]");
        check("{{.Name | upper | printf \"%q\"}}", "\"/WEB\"");
        check("{{join .List \", \"}} {{len .List}}", "x, y 2");
        check("{{index .List 1}} {{(index (index .Ports \"80/tcp\") 0).HostPort}}", "y 8080");
        check("{{slice .Id 0 2}}", "ab");
        check("{{title .Id}} {{lower \"ABC\"}} {{truncate .Id 2}}", "Abc abc ab");
        check("{{range split \"a,b\" \",\"}}[{{.}}]{{end}}", "[a][b]");
    }

    #[test]
    fn control() {
        check("{{if .Ok}}yes{{else}}no{{end}}", "yes");
        check("{{if eq .Pid 8}}8{{else if eq .Pid 7}}7{{end}}", "7");
        check("{{if and .Ok (not .Empty)}}both{{end}}", "both");
        check("{{range .Nets}}{{.IP}} {{end}}", "10.0.0.2 10.0.1.2 ");
        check("{{range $k, $v := .Nets}}{{$k}}={{$v.IP}};{{end}}", "a=10.0.0.2;b=10.0.1.2;");
        check("{{range .Empty}}x{{else}}none{{end}}", "none");
        check("{{with .Nets.a}}{{.IP}}{{end}}", "10.0.0.2");
        check("{{$x := .Pid}}{{$x}}", "7");
        check("a {{- .Pid -}} b", "a7b");
        check("{{/* a comment */}}x", "x");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (template, want) in [
            ("{{.Name", "unclosed action"),
            ("{{frob .}}", "function \"frob\" not defined"),
            ("{{if .X}}", "unexpected end of template: \"if\" has no {{end}}"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{range .Pid}}{{end}}", "range cannot iterate over 7"),
        ] {
            let err = Template::parse(template).and_then(|t| t.render(&json!({"Pid": 7})));
            let text = err.unwrap_err().to_string();
            assert!(text.contains(want), "{template}: {text}");
        }
    }
}
