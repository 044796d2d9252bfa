//! Go's text/template, as far as `--format` uses it: fields, pipes, functions, `if`, `range`,
//! `with`, `define`, `template`, `block`, variables, and trimming, over JSON values.

mod eval;
mod functions;
mod lex;
mod parse;
mod types;

use serde_json::Value;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template(parse::Parsed);

/// Why a template cannot be used: what is wrong, and in which action.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("template parsing error: {0}")]
pub(crate) struct Error(String);

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The key under which a row has its labels one by one, for `.Label "NAME"`.
pub(crate) const LABEL: &str = "Label";

impl Template {
    /// Parses the text of a template.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let template = Self::parse_hint(text)?;
        let called = functions::OF_HINTS.iter().find(|name| template.calls(name));
        match called {
            Some(name) => Err(Error::new(format!("function {name:?} not defined"))),
            None => Ok(template),
        }
    }

    /// The same of the hint of a plugin, which may call functions about the command that has ended: it is rendered
    /// of an object with the command's `Name`, `flags` and `args`.
    pub(crate) fn parse_hint(text: &str) -> Result<Self, Error> {
        parse::parse(text).map(Self)
    }

    /// The same of the rows of a list: there `\t` and `\n` stand for the characters, and spaces around
    /// count for nothing, as in Docker.
    pub(crate) fn parse_row(text: &str) -> Result<Self, Error> {
        Self::parse(&text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n"))
    }

    /// What the template makes of one value.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Error> {
        eval::render(&self.0, value, false)
    }

    /// What it makes of the headers of the columns, an object with a text for each.
    pub(crate) fn render_header(&self, headers: &Value) -> Result<String, Error> {
        eval::render(&self.0, headers, true)
    }

    /// The fields that stand alone at the top level, in order.
    pub(crate) fn fields(&self) -> Vec<String> {
        parse::top_level_fields(&self.0.nodes)
    }

    /// Whether it calls a function, wherever in it.
    fn calls(&self, function: &str) -> bool {
        let mut all = self.0.defined.values().chain([&self.0.nodes]);
        all.any(|nodes| parse::calls(nodes, function))
    }

    /// Whether the template asks for a field of the value, wherever in it.
    pub(crate) fn mentions(&self, field: &str) -> bool {
        let mut all = self.0.defined.values().chain([&self.0.nodes]);
        all.any(|nodes| parse::mentions(nodes, field))
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
            "Networks": {"a": {"IP": "10.0.0.2"}, "b": {"IP": "10.0.1.2"}}, "List": ["x", "y"], "Empty": "",
            "Labels": {"a.b": "c"}, "State": {"Pid": 7}, "Config": {"Cmd": null, "Labels": null}, "Mounts": [{}],
            "HostIp": "::1", "LogConfig": {"Config": {}},
            "Bytes": 1_234_567_890_123_i64, "Descriptor": {"mediaType": "x/y", "digest": "sha256:1"},
        });
        let got = Template::parse(template).and_then(|t| t.render(&value));
        assert_eq!(got.as_deref().map_err(ToString::to_string), Ok(want), "{template}");
    }

    #[test]
    fn fields_and_literals() {
        check("{{.Name}} {{ .Pid }} {{.Ok}}", "/web 7 true");
        check("{{\"quoted \\\"x\\\"\"}}{{`raw`}}", "quoted \"x\"raw");
        check("{{.Networks.a.IP}}", "10.0.0.2");
        check("{{.Bytes}}", "1234567890123");
        check("{{.Descriptor.Digest}} {{.Descriptor.mediaType}}", "sha256:1 x/y");
    }

    #[track_caller]
    fn fails(template: &str, want: &str) {
        let value = json!({"Pid": 7, "State": {}, "Ports": {}, "List": [], "Labels": {}});
        let err = Template::parse(template).and_then(|t| t.render(&value)).unwrap_err().to_string();
        assert!(err.contains(want), "{template}: {err}");
    }

    /// As in Docker's client, whose templates walk Go's types.
    #[test]
    fn what_is_not_there() {
        // Of a map, any key may be asked for; a field is there or is not.
        check("{{.Labels.x}} {{index .Labels \"x\"}}.{{index .Labels \"a.b\"}}", "<no value> .c");
        check("{{.Networks.c.IP}} {{.Networks.c.More.Yet}}", "<no value> <no value>");
        check("{{.Config.Labels.x}} {{index .Config.Labels \"x\"}}.", "<no value> .");
        check("{{.LogConfig.Config.x}}{{with .Labels}}{{.y}}{{end}}", "<no value><no value>");
        fails("{{.Missing}}", "template parsing error: <.Missing>: no field or key \"Missing\"");
        fails("{{.State.Status.More}}", "no field or key");
        fails("{{.state}}", "no field or key");
        fails("{{.Pid.More}}", "can't evaluate field More");
        // What an engine leaves out is there all the same, and empty.
        check("{{.State.Health}} {{if .State.Health}}x{{end}}", "<nil> ");
        check("{{range .Mounts}}[{{.Name}}{{.Type}}]{{end}}", "[]");
        check("{{if and .State.Health .State.Health.Status}}x{{else}}y{{end}}", "y");
        check("{{.Config.Cmd}} {{.Config.Labels}} {{json .Config.Cmd}}", "[] map[] null");
        check("{{len .Config.Cmd}}{{range .Config.Cmd}}x{{else}}y{{end}}", "0y");
        fails("{{.State.Health.Status}}", "nil pointer evaluating .Status");
        fails("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "error calling index");
        fails("{{index .List 0}}", "index out of range: 0");
        // Go's name is not always JSON's.
        check("{{.ID}} {{.HostIP}}", "abc ::1");
    }

    #[test]
    fn hints_ask_about_a_command() {
        let command =
            json!({"Name": "run", "flags": {"name": "web", "rm": "true"}, "args": ["a", ""]});
        let hint = |text: &str| Template::parse_hint(text).and_then(|hint| hint.render(&command));
        for (text, want) in [
            ("{{command}} {{.Name}}", "run run"),
            ("{{flagValue \"name\"}} {{flag . \"rm\"}}", "web true"),
            ("{{argValue 0}}{{arg . 1}}.", "a."),
            ("{{if eq (flagValue \"rm\") \"true\"}}gone{{end}}", "gone"),
        ] {
            assert_eq!(hint(text).as_deref(), Ok(want), "{text}");
        }
        for text in ["{{flagValue \"x\"}}", "{{argValue 2}}", "{{argValue}}", "{{command 1}}"] {
            assert!(hint(text).is_err(), "{text}");
        }
        // Elsewhere there are none.
        assert!(Template::parse("{{range .List}}{{(command)}}{{end}}").is_err());
        assert!(Template::parse("{{define \"x\"}}{{flag . \"a\"}}{{end}}").is_err());
    }

    #[test]
    fn structs_are_printed_as_go_prints_them() {
        let value = json!({
            "Ports": {"80/tcp": [{"HostIp": "::", "HostPort": "8080"}], "90/udp": null},
            "ExposedPorts": {"80/tcp": {}}, "LogConfig": {"Type": "local", "Config": {}},
            "Policy": {"MaximumRetryCount": 3, "Name": "on-failure"},
            "Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b", "Mode": "", "RW": true, "Propagation": "rprivate"}],
            "Labels": {"b": "2", "a": "1"},
        });
        for (template, want) in [
            ("{{.Ports}}", "map[80/tcp:[{:: 8080}] 90/udp:[]]"),
            (
                "{{.ExposedPorts}} {{.LogConfig}} {{.Policy}}",
                "map[80/tcp:{}] {local map[]} {on-failure 3}",
            ),
            ("{{.Mounts}}", "[{bind  /a /b   true rprivate}]"),
            ("{{.Labels}}", "map[a:1 b:2]"),
        ] {
            let got = Template::parse(template).and_then(|t| t.render(&value));
            assert_eq!(got.as_deref().map_err(ToString::to_string), Ok(want), "{template}");
        }
    }

    #[test]
    fn tabs_are_for_lists() {
        let row = |text| Template::parse_row(text).unwrap().render(&json!({"ID": "a"})).unwrap();
        assert_eq!(row(r" {{.ID}}\t{{.ID}}\n "), "a\ta\n");
        check(r"{{.Id}}\t", r"abc\t");
        check("{{\"a\\tb\"}}", "a\tb");
    }

    #[test]
    fn functions_and_pipes() {
        check("{{json .List}}", "[\"x\",\"y\"]");
        check("{{.Name | upper | printf \"%q\"}}", "\"/WEB\"");
        check("{{join .List \", \"}} {{len .List}}", "x, y 2");
        check("{{index .List 1}} {{(index (index .Ports \"80/tcp\") 0).HostPort}}", "y 8080");
        check("{{slice .Id 0 2}} {{slice .List 1}}", "ab [y]");
        check("{{printf \"%.2s|%-5s|%05d|%x\" .Id .Id .Pid .Pid}}", "ab|abc  |00007|7");
        check("{{printf \"%6.2f|%v|%%\" 1.5 .List}}", "  1.50|[x y]|%");
        check("{{print 1 2 \"a\" 3}}", "1 2a3");
        check("{{js \"it's <a>&=\\n\"}}", "it\\'s \\u003Ca\\u003E\\u0026\\u003D\\u000A");
        check("{{html \"<a>\"}} {{urlquery \"a b/\"}}", "&lt;a&gt; a+b%2F");
        check("{{title .Id}} {{lower \"ABC\"}} {{truncate .Id 2}}", "Abc abc ab");
        check("{{range split \"a,b\" \",\"}}[{{.}}]{{end}}", "[a][b]");
    }

    #[test]
    fn control() {
        check("{{if .Ok}}yes{{else}}no{{end}}", "yes");
        check("{{if eq .Pid 8}}8{{else if eq .Pid 7}}7{{end}}", "7");
        check("{{if and .Ok (not .Empty)}}both{{end}}", "both");
        check("{{range .Networks}}{{.IP}} {{end}}", "10.0.0.2 10.0.1.2 ");
        check("{{range $k, $v := .Networks}}{{$k}}={{$v.IP}};{{end}}", "a=10.0.0.2;b=10.0.1.2;");
        check("{{range .Empty}}x{{else}}none{{end}}", "none");
        check("{{with .Networks.a}}{{.IP}}{{end}}", "10.0.0.2");
        check("{{$x := .Pid}}{{$x}}", "7");
        check("{{if $x := .Pid}}{{$x}}{{end}}{{with $y := .List}}{{len $y}}{{end}}", "72");
        check("{{with .Empty}}a{{else with .Name}}{{.}}{{else}}b{{end}}", "/web");
        check("{{with .Empty}}a{{else with .Empty}}b{{else}}c{{end}}", "c");
        check("{{range .List}}{{if eq . \"y\"}}{{break}}{{end}}{{.}}{{end}}", "x");
        check("{{range .List}}{{if eq . \"x\"}}{{continue}}{{end}}{{.}}{{end}}.", "y.");
        check("a {{- .Pid -}} b", "a7b");
        check("{{/* a comment */}}x", "x");
    }

    #[test]
    fn templates_in_templates() {
        check(
            "{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Pid}}{{template \"t\" .Name}}",
            "<7></web>",
        );
        check("{{template \"t\" .State}}{{define \"t\"}}{{.Pid}} {{$.Pid}}{{end}}", "7 7");
        check("{{range .List}}{{template \"t\" .}}{{end}}{{define \"t\"}}[{{.}}]{{end}}", "[x][y]");
        check("{{define \"t\"}}{{.}}{{end}}{{template \"t\"}}", "<no value>");
        check("{{block \"b\" .State}}{{.Pid}}{{end}}{{template \"b\" .}}", "77");
        check(
            "{{define \"a\"}}{{template \"b\" .}}!{{end}}{{define \"b\"}}{{.}}{{end}}{{template \"a\" 1}}",
            "1!",
        );
        check(
            "{{define \"t\"}} {{end}}{{define \"t\"}}b{{end}}{{define \"t\"}}{{end}}{{template \"t\"}}",
            "b",
        );
        // Variables are of the template that they are in.
        fails("{{$x := 1}}{{define \"t\"}}{{$x}}{{end}}{{template \"t\"}}", "undefined variable");
        fails("{{template \"none\"}}", "template \"none\" not defined");
        fails(
            "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}",
            "maximum template depth",
        );
        assert!(Template::parse("{{define \"t\"}}{{.Size}}{{end}}").unwrap().mentions("Size"));
    }

    /// What is typed by a person is no reason to run out of the stack.
    #[test]
    fn nothing_is_endlessly_deep() {
        let blocks = |begin: &str, n: usize| format!("{}x{}", begin.repeat(n), "{{end}}".repeat(n));
        check(&blocks("{{if 1}}", 100), "x");
        for begin in ["{{if 1}}", "{{with 1}}", "{{range .}}"] {
            fails(&blocks(begin, 9000), "blocks are within each other");
        }
        let chain =
            format!("{{{{with .Empty}}}}{}{{{{end}}}}", "{{else with .Empty}}".repeat(9000));
        fails(&chain, "blocks are within each other");
        let parens = |n: usize| format!("{{{{{}1{}}}}}", "(".repeat(n), ")".repeat(n));
        check(&parens(100), "1");
        fails(&parens(60_000), "open parens");
        // Of many templates within each other, each has many blocks.
        let inner = "{{template \"t\"}}";
        let within = blocks("{{if 1}}", 100).replace('x', inner);
        let template = format!("{{{{define \"t\"}}}}{within}{{{{end}}}}{inner}");
        fails(&template, "maximum template depth");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (template, want) in [
            ("{{.Name", "unclosed action"),
            ("{{frob .}}", "function \"frob\" not defined"),
            ("{{if .X}}", "unexpected end of template: \"if\" has no {{end}}"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{range .Pid}}{{end}}", "range cannot iterate over 7"),
            ("{{break}}", "{{break}} outside {{range}}"),
            ("{{range .}}{{block \"b\" .}}{{continue}}{{end}}{{end}}", "{{continue}} outside"),
            ("{{if .Pid}}a{{else with .Pid}}b{{end}}", "unexpected words after {{else}} of if"),
            ("{{range .Pid}}a{{else if .Pid}}b{{end}}", "unexpected words after {{else}} of range"),
            ("{{if .Pid}}a{{else}}b{{else}}c{{end}}", "unexpected {{else}} in \"if\""),
            ("{{define \"t\"}}", "\"define\" has no {{end}}"),
            ("{{define t}}{{end}}", "missing name in define clause"),
            ("{{define \"t\" .}}{{end}}", "unexpected words in define clause"),
            ("{{if .Pid}}{{define \"t\"}}{{end}}{{end}}", "unexpected {{define}}"),
            ("{{define \"t\"}}a{{end}}{{define \"t\"}}b{{end}}", "multiple definition"),
            ("{{template}}", "missing name in template clause"),
            ("{{printf \"%s\"}}{{.Label \"x\"}}", "can't evaluate field Label"),
        ] {
            let err = Template::parse(template).and_then(|t| t.render(&json!({"Pid": 7})));
            let text = err.unwrap_err().to_string();
            assert!(text.contains(want), "{template}: {text}");
        }
    }
}
