//! Signatures, of keys that are made here.

use buildgraph::SignedBy;

use super::*;

/// A commit that has to be signed by these keys.
fn by(source: Git, keys: &str) -> Git {
    let keys = keys.to_owned();
    Git { signed: Some(Box::new(SignedBy { keys, ..SignedBy::default() })), ..source }
}

/// The same with more that is asked of it.
fn with(source: Git, ask: fn(&mut SignedBy)) -> Git {
    let mut signed = source.signed.clone().unwrap();
    ask(&mut signed);
    Git { signed: Some(signed), ..source }
}

fn file(server: &Server, name: &str) -> String {
    fs::read_to_string(server.dir.join(name)).unwrap()
}

/// `s KEY …` is git, which signs with that key.
const BY_SSH: &str = r#"
    s() { key=$PWD/../$1; shift; git -c gpg.format=ssh -c user.signingkey=$key "$@"; }
    echo one >f; git add .; git commit -qm one; git tag -am annotated unsigned
    echo two >f; s one commit -qa -S -m two; git tag light; s two tag -sm tagged v1
    git cat-file commit light | sed s/two$/TWO/ | git hash-object -t commit -w --stdin >../forged
    git branch forged $(cat ../forged)
"#;

#[tokio::test]
async fn by_keys_of_ssh() {
    testkit::needs!(Ssh);
    let home = Home::new("git-signed-ssh");
    let server = Server::new("signed-ssh", daemon);
    let keys = "ssh-keygen -q -t ecdsa -N '' -f one; ssh-keygen -q -t ed25519 -N '' -f two";
    sh(&server.dir, keys);
    server.repository("r", BY_SSH);
    let url = server.url("git", "r");
    let at = |reference: &str| git(url.clone(), reference);
    let (one, two) = (file(&server, "one.pub"), file(&server, "two.pub"));
    let tag = sh(&server.dir.join("r"), "git rev-parse v1");
    let require: fn(&mut SignedBy) = |signed| signed.require_tag = true;
    let ignore: fn(&mut SignedBy) = |signed| signed.ignore_tag = true;
    for good in [
        by(at("main"), &one),
        by(at("light"), &format!("# me\n{one}")),
        by(at("v1"), &two),
        // The tag is not signed by it; the commit is.
        by(at("v1"), &one),
        with(by(at("v1"), &two), require),
        with(by(at("v1"), &one), ignore),
        with(by(at(&tag), &two), require),
        Git { keep_git_dir: true, ..with(by(at("v1"), &two), require) },
    ] {
        let (path, ..) = get(&home, &good).await;
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "two\n");
    }
    let (build, _) = home.begin();
    let listeners = Listeners::default();
    let found = about(&build.shared, &by(at(&tag), &two), false, &listeners).await.unwrap();
    assert_eq!(found.commit, sh(&server.dir.join("r"), "git rev-parse v1^{commit}"));

    let mismatch = "failed to verify ssh signature: public key does not match";
    for (bad, why) in [
        (by(at("main"), &two), mismatch),
        (with(by(at("v1"), &one), require), mismatch),
        (with(by(at("v1"), &two), ignore), mismatch),
        (with(by(at("light"), &one), require), "signed tag required but no signed tag found"),
        (by(at("unsigned"), &one), "git object is not signed"),
        (by(at("forged"), &one), "failed to verify ssh signature: Signature verification failed"),
        (by(at("main"), "no key"), "failed to parse ssh public key: no key found"),
        (by(at("main"), ""), "failed to parse ssh public key: no key found"),
    ] {
        let error = refused(&home, &bad).await;
        assert!(error.starts_with(why), "{why}: {error}");
        let error = about(&build.shared, &bad, false, &listeners).await.unwrap_err().to_string();
        assert!(error.starts_with(why), "{why}: {error}");
    }
    // In a repository that names objects by SHA-256.
    let make = format!("git init -q -b main --object-format=sha256 s; cd s; {BY_SSH}");
    sh(&server.dir, &make);
    let other = server.url("git", "s");
    get(&home, &by(git(other.clone(), "main"), &one)).await;
    get(&home, &with(by(git(other.clone(), "v1"), &two), require)).await;
    let error = refused(&home, &by(git(other, "main"), &two)).await;
    assert_eq!(error, mismatch);
}

/// A checkout that is here is verified all the same, and nothing is fetched for it again.
#[tokio::test]
async fn what_is_here_is_verified_too() {
    testkit::needs!(Ssh);
    let home = Home::new("git-signed-here");
    let server = Server::new("signed-here", daemon);
    sh(&server.dir, "for key in one two; do ssh-keygen -q -t ed25519 -N '' -f $key; done");
    server.repository("r", BY_SSH);
    let (one, two) = (file(&server, "one.pub"), file(&server, "two.pub"));
    let commit = sh(&server.dir.join("r"), "git rev-parse light");
    let at = |reference: &str| git(server.url("git", "r"), reference);
    // One that was not signed when it came.
    get(&home, &at(&commit)).await;
    let (.., was_here) = get(&home, &by(at(&commit), &one)).await;
    assert!(was_here);
    fs::remove_dir_all(server.dir.join("r")).unwrap();
    let (.., was_here) = get(&home, &by(at(&commit), &one)).await;
    assert!(was_here);
    let error = refused(&home, &by(at(&commit), &two)).await;
    assert!(error.ends_with("public key does not match"), "{error}");
}

/// A server that says of a signed tag that it is of another commit.
#[tokio::test]
async fn a_tag_is_of_its_own_commit() {
    testkit::needs!(Ssh);
    let home = Home::new("git-signed-lies");
    let server = Server::new("signed-lies", files);
    sh(&server.dir, "for key in one two; do ssh-keygen -q -t ed25519 -N '' -f $key; done");
    let lie = "git clone -q --bare . ../bare; cd ../bare; git update-server-info
        sed -i \"s/^.*\\(refs.tags.v1^{}\\)/$(cat ../forged)\\t\\1/\" info/refs";
    server.repository("r", &format!("{BY_SSH}\n{lie}"));
    let two = file(&server, "two.pub");
    let source = with(by(git(server.url("http", "bare"), "v1"), &two), |by| by.require_tag = true);
    let error = refused(&home, &source).await;
    let forged = file(&server, "forged");
    assert!(error.ends_with(&format!(", not {}", forged.trim())), "{error}");
}

/// `g WHO …` is git, which signs with the key of `WHO`; `at TIME` and `by HASH` are how.
const BY_PGP: &str = r#"
    export GNUPGHOME=$PWD/../gpg
    mkdir -m 700 "$GNUPGHOME"
    trap 'gpgconf --kill all' EXIT
    quiet="gpg --batch --quiet --no-tty --pinentry-mode loopback --passphrase ''"
    new() { eval "$quiet $3" --quick-gen-key "'$1 <$1@example.com>'" $2 sign ${4:-never} 2>/dev/null; }
    key() { gpg --armor --export $1@example.com >../$1.pub; }
    new good ed25519; new other ed25519; new rsa rsa2048; new short rsa1024; new gone ed25519
    new old ed25519 '--faked-system-time 20200101T000000' 30d
    printf '#!/bin/sh\nexec gpg --faked-system-time 20200110T000000 "$@"\n' >../then
    printf '#!/bin/sh\nexec gpg --digest-algo SHA1 "$@"\n' >../weak
    chmod 755 ../then ../weak
    g() { who=$1 how=$2; shift 2; git -c user.signingkey=$who@example.com -c gpg.program=$how "$@"; }
    for who in good rsa short gone; do git checkout -q -b $who
        echo $who >f; git add .; g $who gpg commit -q -S -m $who; done
    git checkout -q -b old; g old $PWD/../then commit -q -S -m old --allow-empty
    git checkout -q -b weak; g rsa $PWD/../weak commit -q -S -m weak --allow-empty
    g good gpg tag -sm tagged v1
    id=$(gpg --list-keys --with-colons gone@example.com | awk -F: '/^fpr/ { print $10; exit }')
    sed 's/^:---/---/' "$GNUPGHOME/openpgp-revocs.d/$id.rev" | gpg --batch --quiet --import 2>/dev/null
    for who in good other rsa short gone old; do key $who; done
"#;

#[tokio::test]
async fn by_keys_of_openpgp() {
    testkit::needs!(Gpg);
    let home = Home::new("git-signed-pgp");
    let server = Server::new("signed-pgp", daemon);
    server.repository("r", BY_PGP);
    let url = server.url("git", "r");
    let at = |reference: &str| git(url.clone(), reference);
    let key = |who: &str| file(&server, &format!("{who}.pub"));
    let reject: fn(&mut SignedBy) = |signed| signed.reject_expired = true;
    let both = format!("{}\n{}", key("other"), key("good"));
    for good in [
        by(at("good"), &key("good")),
        with(by(at("good"), &both), reject),
        by(at("rsa"), &key("rsa")),
        with(by(at("v1"), &key("good")), |signed| signed.require_tag = true),
        // Its key had not expired then.
        by(at("old"), &key("old")),
    ] {
        get(&home, &good).await;
    }
    for (bad, why) in [
        (by(at("good"), &key("other")), "signature made by unknown entity"),
        (with(by(at("old"), &key("old")), reject), "key expired"),
        (by(at("gone"), &key("gone")), "key revoked"),
        (by(at("weak"), &key("rsa")), "rejecting weak/unknown hash: number 2 of OpenPGP"),
    ] {
        let error = refused(&home, &bad).await;
        assert!(error.starts_with("signature by ") && error.contains(why), "{why}: {error}");
    }
    let error = refused(&home, &by(at("short"), &key("short"))).await;
    assert_eq!(error, "RSA key too short: 1024 bits");
    let more = format!("{}{}", key("short"), key("good"));
    let error = refused(&home, &by(at("short"), &more)).await;
    assert!(error.contains("unknown entity (an RSA key of 1024 bits is too short"), "{error}");
    let error = refused(&home, &by(at("good"), "ssh-ed25519 AAAA")).await;
    assert_eq!(error, "failed to read armored public key: no armored data found");
}
