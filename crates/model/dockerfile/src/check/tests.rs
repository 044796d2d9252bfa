use super::*;

#[test]
fn options() {
    let config = Config::parse("skip=A, B;error=true;experimental=all").unwrap();
    assert!(config.error && config.experimental_all && !config.skip_all);
    assert_eq!(config.skip.into_iter().collect::<Vec<_>>(), ["A", "B"]);
    assert!(Config::parse("skip=all").unwrap().skip_all);
    assert_eq!(Config::parse(" "), Ok(Config::default()));
    for bad in ["skip", "x=y", "error=maybe"] {
        let error = Config::parse(bad).unwrap_err().to_string();
        assert_eq!(error, format!("failed to parse check options: invalid check option \"{bad}\""));
    }
    let own = Config::of_source("# check=skip=X // so\nFROM a").unwrap();
    assert!(own.skip.contains("X"));
}

#[test]
fn secrets() {
    for name in ["SECRET_PASSPHRASE", "SUPER_Secret", "password", "auth", "apikey", "git_key"] {
        assert!(text::is_secret(name), "{name}");
    }
    for name in ["sunflower", "PUBLIC_KEY", "SECRET_PASSPHRASE_FILE", "AUTH_MODULE_VERSION", "keys"]
    {
        assert!(!text::is_secret(name), "{name}");
    }
}

/// The reference has a page for each but one.
#[test]
fn rules() {
    let with_page = Rule::ALL.iter().filter(|rule| !rule.url().is_empty()).count();
    assert_eq!(with_page, 21);
    assert_eq!(
        Rule::JSONArgsRecommended.url(),
        "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
    );
}
