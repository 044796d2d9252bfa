//! `--secret`.

use docker::secret::SecretMount;

use super::csv;
use crate::error::{Error, Result};

/// `NAME`, or `KEY=VALUE` pairs separated by commas.
pub(super) fn secret(text: &str) -> Result<SecretMount> {
    let wrong = |why: &str| Error::Usage(format!("invalid argument {text:?} for --secret: {why}"));
    let fields = csv::fields(text).ok_or_else(|| wrong(csv::BAD_QUOTE))?;
    let mut secret = SecretMount::default();
    for (at, field) in fields.iter().enumerate() {
        let Some((key, value)) = field.split_once('=') else {
            if at > 0 {
                return Err(wrong(&format!("{field:?} must be a key=value pair")));
            }
            secret.source.clone_from(field);
            continue;
        };
        let value = value.to_owned();
        match key {
            "source" | "src" | "id" => secret.source = value,
            "target" | "dst" | "destination" => secret.target = value,
            "type" => secret.kind = value,
            "uid" => secret.uid = value,
            "gid" => secret.gid = value,
            "mode" => {
                let mode = u32::from_str_radix(&value, 8);
                secret.mode = Some(mode.map_err(|_| wrong(&format!("{value:?} is not octal")))?);
            }
            _ => return Err(wrong(&format!("unexpected key {key:?}"))),
        }
    }
    if secret.source.is_empty() {
        return Err(wrong("it has no name"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_name_and_how_it_is_had() {
        let got = secret("db,target=/etc/key,uid=1,gid=2,mode=0400").unwrap();
        assert_eq!((got.source.as_str(), got.target.as_str()), ("db", "/etc/key"));
        assert_eq!((got.uid.as_str(), got.gid.as_str(), got.mode), ("1", "2", Some(0o400)));
        assert_eq!(secret("source=db,type=env").unwrap().kind, "env");
        for bad in ["", "db,x", "db,mode=9", "db,colour=red", "target=/x", "\"db"] {
            assert!(secret(bad).is_err(), "{bad}");
        }
    }
}
