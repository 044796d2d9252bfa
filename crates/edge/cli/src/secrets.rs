//! Commands on secrets.

use std::io::Read as _;
use std::path::Path;

use data_encoding::BASE64;
use docker::IdResponse;
use docker::secret::{Secret, SecretSpec};
use docker::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::almost;
use crate::args::{ListArgs, SecretCreateArgs};
use crate::client::{Client, encode};
use crate::containers;
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};
use crate::request;

/// More than a secret may hold, in bytes: the engine refuses it then.
const MAX_READ: u64 = 1 << 20;

const COLUMNS: &[Column] = &[
    Column { field: "ID", header: "ID" },
    Column { field: "Name", header: "NAME" },
    Column { field: "CreatedAt", header: "CREATED" },
    Column { field: "UpdatedAt", header: "UPDATED" },
];
const MORE: &[Column] =
    &[Column { field: "Driver", header: "DRIVER" }, Column { field: "Labels", header: "LABELS" }];

/// `secret create`: prints the new secret's id.
pub(crate) async fn create(client: &Client, args: SecretCreateArgs) -> Result<i32> {
    let data = match (&args.env, &args.file) {
        (Some(variable), _) => std::env::var_os(variable)
            .ok_or_else(|| Error::Usage(format!("the variable {variable} is not set")))?
            .into_encoded_bytes(),
        (None, Some(file)) => read(file)?,
        (None, None) => {
            let why = "give a file that holds the secret, - for STDIN, or --env VARIABLE";
            return Err(Error::Usage(why.to_owned()));
        }
    };
    let named = |name: &str| (!name.is_empty()).then(|| json!({ "Name": name }));
    let spec = SecretSpec {
        name: args.name,
        driver: named(&args.driver),
        templating: named(&args.template_driver),
        labels: request::key_values(&args.label).into(),
        data: BASE64.encode(&data),
    };
    let created: IdResponse = client.post("/secrets/create", &spec).await?;
    println!("{}", created.id);
    Ok(0)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().take(MAX_READ).read_to_end(&mut data).map_err(Error::io("read STDIN"))?;
    } else {
        let doing = format!("read {}", file.display());
        let opened = std::fs::File::open(file).map_err(Error::io(doing.clone()))?;
        opened.take(MAX_READ).read_to_end(&mut data).map_err(Error::io(doing))?;
    }
    Ok(data)
}

/// `secret ls`.
pub(crate) async fn list(client: &Client, args: &ListArgs) -> Result<i32> {
    let filters = request::filters(&args.filter)?;
    let path = format!("/secrets?filters={}", encode(&filters.to_json()));
    let secrets: Vec<Secret> = client.get(&path).await?;
    if args.quiet {
        for secret in &secrets {
            println!("{}", secret.id);
        }
        return Ok(0);
    }
    let ago = |time: &str| {
        Timestamp::parse(time).map_or_else(|_| time.to_owned(), |at| human::ago(at.seconds))
    };
    let rows: Vec<Value> = secrets
        .iter()
        .map(|secret| {
            json!({
                "ID": secret.id,
                "Name": secret.spec.name,
                "Driver": "",
                "CreatedAt": ago(&secret.created_at),
                "UpdatedAt": ago(&secret.updated_at),
                "Labels": secret.spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
            })
        })
        .collect();
    let format = crate::config::format(args.format.as_deref(), &crate::config::get().secret_format);
    list::print(format, COLUMNS, MORE, &rows)
}

/// `secret inspect --pretty`.
pub(crate) async fn pretty(client: &Client, names: &[String]) -> Result<i32> {
    let mut code = 0;
    for name in names {
        let secret = client.get::<Secret>(&format!("/secrets/{}", encode(name))).await;
        match almost::told(client, secret).await {
            Ok(secret) => println!("{}", in_words(&secret)),
            Err(err) => {
                eprintln!("dhow: {err}");
                code = 1;
            }
        }
    }
    Ok(code)
}

/// A secret as Docker's client tells of it, lines that do not line up included.
fn in_words(secret: &Secret) -> String {
    let SecretSpec { name, labels, driver, .. } = &secret.spec;
    let mut text = format!("ID:              {}\nName:              {name}\n", secret.id);
    for (at, (key, value)) in labels.iter().enumerate() {
        let header = if at == 0 { "Labels:\n" } else { "" };
        let sign = if value.is_empty() { "" } else { "=" };
        text.push_str(&format!("{header} - {key}{sign}{value}\n"));
    }
    let driver = driver.as_ref().and_then(|driver| driver["Name"].as_str()).unwrap_or_default();
    text + &format!(
        "Driver:            {driver}\nCreated at:        {}\nUpdated at:        {}",
        human::go_time(&secret.created_at),
        human::go_time(&secret.updated_at)
    )
}

/// `secret update`.
pub(crate) async fn update(
    client: &Client,
    secret: &str,
    labels: &[String],
    without: &[String],
) -> Result<i32> {
    let Secret { id, version, mut spec, .. } =
        client.get(&format!("/secrets/{}", encode(secret))).await?;
    spec.labels.retain(|key, _| !without.contains(key));
    spec.labels.extend(request::key_values(labels));
    let path = format!("/secrets/{}/update?version={}", encode(&id), version.index);
    client.post_json(&path, &spec).await?;
    Ok(0)
}

/// `secret rm`.
pub(crate) async fn rm(client: &Client, secrets: &[String]) -> Result<i32> {
    containers::each(secrets, async |name: &str| {
        let removed = client.delete(&format!("/secrets/{}", encode(name))).await;
        almost::told(client, removed).await.map(drop)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_words() {
        let mut secret = Secret {
            id: "abc".into(),
            created_at: "2026-01-02T03:04:05Z".into(),
            updated_at: "2026-01-02T03:04:06Z".into(),
            ..Secret::default()
        };
        secret.spec.name = "key".into();
        let end = "Driver:            \nCreated at:        2026-01-02 03:04:05 +0000 UTC\n\
                   Updated at:        2026-01-02 03:04:06 +0000 UTC";
        let begin = "ID:              abc\nName:              key\n";
        assert_eq!(in_words(&secret), format!("{begin}{end}"));
        secret.spec.labels = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]
            .into_iter()
            .collect();
        assert_eq!(in_words(&secret), format!("{begin}Labels:\n - a=1\n - b\n{end}"));
    }
}
