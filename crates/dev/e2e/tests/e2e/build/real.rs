//! Dockerfiles as people write them.

use std::fs;
use std::path::Path;

use testkit::needs;

use super::{built, carried_out, context, tidy};
use crate::busybox;

const TOOLS: &str = "\
# Everything that a Dockerfile can say in a page.
ARG MODE=release
FROM busybox AS tools
ARG MODE
RUN <<END
set -e
mkdir -p /out/etc
echo \"mode = $MODE\" > /out/etc/app.conf
END
COPY <<-'END' /out/etc/motd
\tno $variables here
\tEND
RUN --mount=type=secret,id=key,required=true --mount=type=cache,target=/var/cache/it,sharing=locked \
    sha256sum /run/secrets/key | cut -c1-8 > /out/etc/key && echo x >> /var/cache/it/runs
FROM busybox AS program
RUN mkdir /app && cp /bin/busybox /app/busybox
FROM scratch
COPY --from=program /app/busybox /busybox
COPY --from=tools --chown=7:8 /out /
ENTRYPOINT [\"/busybox\", \"cat\"]
CMD [\"/etc/app.conf\"]
";

#[test]
fn a_last_stage_without_tools() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-tools");
    let dir = context(&sandbox, "tools", &[("Dockerfile", TOOLS)]);
    fs::write(sandbox.work().join("key"), "a key").unwrap();
    let secret = format!("id=key,src={}", sandbox.work().join("key").display());
    let mode = ["--build-arg", "MODE=debug"];
    let told = built(&sandbox, &dir, &[&["-t", "bare", "--secret", &secret], &mode[..]].concat());
    assert_eq!(told.matches(" exporting to image\n").count(), 1, "{told}");
    assert_eq!(sandbox.ok(&["run", "--rm", "bare"]), "mode = debug");
    assert_eq!(sandbox.ok(&["run", "--rm", "bare", "/etc/motd"]), "no $variables here");
    let sum = sandbox.sh("printf 'a key' | sha256sum | cut -c1-8").success();
    assert_eq!(sandbox.ok(&["run", "--rm", "bare", "/etc/key"]), sum.trim());
    let size = sandbox.ok(&["images", "--format", "{{.Size}}", "bare"]);
    assert!(size.ends_with("MB") && size.len() <= 6, "no tools: {size}");
    tidy(&sandbox);
    sandbox.finish();
}

const STAGES: usize = 10;
/// Of each stage, with its `COPY`; with the last stage's copies, more than 60 in all.
const RUNS: usize = 5;

/// Stages of which each has a file of its own, and every third takes from the one before.
fn large(dir: &Path) {
    use std::fmt::Write as _;
    let mut file = String::new();
    for stage in 0..STAGES {
        writeln!(file, "FROM busybox AS s{stage}").unwrap();
        writeln!(file, "COPY file{stage} /s/{stage}").unwrap();
        for run in 0..RUNS {
            writeln!(file, "RUN echo {stage} {run} >> /s/log{stage}").unwrap();
        }
        if stage % 3 == 2 {
            let before = stage - 1;
            writeln!(file, "COPY --from=s{before} /s/log{before} /s/").unwrap();
        }
        fs::write(dir.join(format!("file{stage}")), format!("{stage}\n")).unwrap();
    }
    writeln!(file, "FROM scratch").unwrap();
    for stage in 0..STAGES {
        writeln!(file, "COPY --from=s{stage} /s /s{stage}").unwrap();
    }
    fs::write(dir.join("Dockerfile"), file).unwrap();
}

#[test]
fn sixty_steps_and_ten_stages() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-large");
    let dir = context(&sandbox, "large", &[]);
    fs::create_dir_all(&dir).unwrap();
    large(&dir);
    let out = sandbox.work().join("out").display().to_string();
    let told = built(&sandbox, &dir, &["-o", &out]);
    assert_eq!(carried_out(&told).len(), STAGES * (RUNS + 1) + 3 + STAGES, "{told}");
    let log = fs::read_to_string(format!("{out}/s2/log1")).unwrap();
    assert_eq!(log, "1 0\n1 1\n1 2\n1 3\n1 4\n");
    let told = built(&sandbox, &dir, &["-o", &out]);
    assert_eq!(carried_out(&told), [""; 0], "{told}");
    // The fifth stage, of which the sixth takes a file that comes out the same, and the last stage from
    // there on.
    fs::write(dir.join("file4"), "changed\n").unwrap();
    let told = built(&sandbox, &dir, &["-o", &out]);
    let again = carried_out(&told);
    let stages = |name: &str| again.iter().filter(|one| one.starts_with(name)).count();
    assert_eq!(stages("[s4 "), RUNS + 1, "{again:?}");
    assert_eq!(stages("[s5 "), 0, "{again:?}");
    assert_eq!(stages("[stage-10 "), STAGES - 4, "{again:?}");
    assert_eq!(again.len(), RUNS + 1 + STAGES - 4, "{again:?}");
    assert_eq!(fs::read_to_string(format!("{out}/s4/4")).unwrap(), "changed\n");
    tidy(&sandbox);
    sandbox.finish();
}
