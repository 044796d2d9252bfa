//! SSH: a key as a line of `authorized_keys`, and a signature as `ssh-keygen -Y sign` writes it (OpenSSH's
//! `PROTOCOL.sshsig`).

use data_encoding::BASE64;

use crate::{Error, MAX_KEYS, armor};

/// Who signs, in a file of who may: keys have no names here.
pub const WHO: &str = "git";
/// What git signs for, so that no other signature of the same key counts.
pub const NAMESPACE: &str = "git";

/// Kinds of keys. Certificates are none: who may make them is not asked.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    kind: &'static str,
    blob: Vec<u8>,
}

impl Key {
    /// Reads the first key of a text, as BuildKit does; its options and its comment say nothing.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > MAX_KEYS {
            return Err(Error::SshKey("it is too long"));
        }
        let text = String::from_utf8_lossy(text);
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.find_map(Self::of_line).ok_or(Error::SshKey("no key found"))
    }

    fn of_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        words.windows(2).find_map(|two| {
            let kind = *KINDS.iter().find(|kind| **kind == two[0])?;
            let blob = BASE64.decode(two[1].as_bytes()).ok()?;
            // It says itself what it is.
            let is_it = Reader(&blob).text() == Some(kind.as_bytes());
            is_it.then_some(Self { kind, blob })
        })
    }

    /// The file that says that this key, and no other, signs for git (`ssh-keygen(1)`, "ALLOWED SIGNERS").
    pub fn allowed_signers(&self) -> String {
        let blob = BASE64.encode(&self.blob);
        format!("{WHO} namespaces=\"{NAMESPACE}\" {} {blob}\n", self.kind)
    }

    /// Holds what a signature says of itself against what it has to be. Whether it is one is for `ssh-keygen` to say.
    ///
    /// # Errors
    ///
    /// It is none, for something else than git, or of another key.
    pub fn check(&self, signature: &[u8]) -> Result<(), Error> {
        let malformed = |why: &str| Error::SshFormat(why.to_owned());
        let blocks = armor::blocks(signature).map_err(malformed)?;
        let [(_, blob)] = &blocks[..] else { return Err(malformed("not one block")) };
        let Some(rest) = blob.strip_prefix(b"SSHSIG") else {
            return Err(malformed("it does not begin as one"));
        };
        let mut reader = Reader(rest);
        let version = reader.number().ok_or_else(|| malformed("it is too short"))?;
        if version != 1 {
            return Err(Error::SshFormat(format!("unsupported SSH signature version: {version}")));
        }
        let mut text = || reader.text().ok_or_else(|| malformed("it is too short"));
        let (key, namespace, _, hash) = (text()?, text()?, text()?, text()?);
        if !matches!(hash, b"sha256" | b"sha512") {
            let hash = String::from_utf8_lossy(hash);
            let why = format!("unsupported SSH signature hash algorithm: {hash}");
            return Err(Error::SshFormat(why));
        }
        if namespace != NAMESPACE.as_bytes() {
            let namespace = String::from_utf8_lossy(namespace);
            let why = format!("unexpected SSH signature namespace: {namespace:?}");
            return Err(Error::SshFormat(why));
        }
        if key != self.blob {
            return Err(Error::Ssh("public key does not match".into()));
        }
        Ok(())
    }
}

/// Numbers and texts as SSH writes them (RFC 4251, section 5).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
    }

    fn blob(kind: &str, rest: &[u8]) -> Vec<u8> {
        [text(kind.as_bytes()), text(rest)].concat()
    }

    fn signature(version: u32, key: &[u8], namespace: &str, hash: &str) -> Vec<u8> {
        let parts = [key, namespace.as_bytes(), b"", hash.as_bytes(), b"s"].map(text);
        let bytes = [b"SSHSIG".as_slice(), &version.to_be_bytes(), &parts.concat()].concat();
        let base64 = BASE64.encode(&bytes);
        format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----\n").into()
    }

    #[test]
    fn keys() {
        let one = blob("ssh-ed25519", b"one");
        let base64 = BASE64.encode(&one);
        let line = format!("ssh-ed25519 {base64}");
        for text in [
            line.clone(),
            format!("\n# ssh-rsa AAAA\n  {line} me@here\n"),
            format!("cert-authority,command=\"x y\" {line}\nssh-ed25519 AAAA"),
            format!("nonsense\n{line}"),
        ] {
            let key = Key::parse(text.as_bytes()).unwrap();
            let wanted = format!("git namespaces=\"git\" ssh-ed25519 {base64}\n");
            assert_eq!(key.allowed_signers(), wanted, "{text}");
        }
        let other = BASE64.encode(&blob("ssh-rsa", b"x"));
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 !",
            &format!("ssh-ed25519 {other}"),
            &format!("ssh-ed25519-cert-v01@openssh.com {base64}"),
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n",
        ] {
            let error = Key::parse(bad.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "failed to parse ssh public key: no key found", "{bad}");
        }
    }

    #[test]
    fn what_a_signature_says_of_itself() {
        let one = blob("ssh-ed25519", b"one");
        let line = format!("ssh-ed25519 {}", BASE64.encode(&one));
        let key = Key::parse(line.as_bytes()).unwrap();
        let check = |signature: &[u8]| key.check(signature).map_err(|error| error.to_string());
        assert_eq!(check(&signature(1, &one, "git", "sha512")), Ok(()));
        for (signature, why) in [
            (
                signature(1, &blob("ssh-ed25519", b"two"), "git", "sha256"),
                "failed to verify ssh signature: public key does not match",
            ),
            (signature(2, &one, "git", "sha256"), "unsupported SSH signature version: 2"),
            (signature(1, &one, "file", "sha256"), "unexpected SSH signature namespace: \"file\""),
            (signature(1, &one, "git", "sha1"), "unsupported SSH signature hash algorithm: sha1"),
            (
                b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n".to_vec(),
                "it is too short",
            ),
            (
                b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n".to_vec(),
                "it does not begin as one",
            ),
            (b"".to_vec(), "not one block"),
        ] {
            let error = check(&signature).unwrap_err();
            assert!(error.ends_with(why), "{error}");
        }
    }
}
