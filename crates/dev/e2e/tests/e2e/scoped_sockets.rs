//! Sockets of the daemon that allow less than all.

use std::process::Stdio;

use testkit::{Sandbox, needs, wait_until};

use crate::busybox;

/// A daemon with sockets of these names in the state directory, until it is dropped.
struct Daemon<'s> {
    sandbox: &'s Sandbox,
    child: std::process::Child,
}

impl<'s> Daemon<'s> {
    fn start(sandbox: &'s Sandbox, sockets: &[(&str, &str)]) -> Self {
        let path = |name: &str| sandbox.state().join(name).to_string_lossy().into_owned();
        let mut command = sandbox.dhow_command(&["daemon"]);
        for (name, allowed) in sockets {
            command.args(["--socket", &format!("{},{allowed}", path(name))]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for (name, _) in sockets {
            let socket = path(name);
            wait_until("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        }
        Self { sandbox, child }
    }

    /// The status and the body.
    fn ask(&self, socket: &str, request: &str) -> (u16, String) {
        let (method, path) = request.split_once(' ').unwrap();
        let mut curl = self.sandbox.command("curl");
        curl.args(["-s", "-g", "-m", "20", "-w", "\n%{http_code}", "-X", method, "--unix-socket"]);
        curl.arg(self.sandbox.state().join(socket)).arg(format!("http://d/v1.47{path}"));
        let said = testkit::capture(&mut curl).success();
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.sandbox.sh(&format!("kill -TERM {}", self.child.id()));
        let _ = self.child.wait();
    }
}

#[test]
fn each_gives_what_it_allows_and_no_more() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("scoped");
    for (name, team) in [("mine", "a"), ("theirs", "b")] {
        let label = format!("team={team}");
        sandbox.ok(&["run", "-d", "--name", name, "--label", &label, "busybox", "sleep", "600"]);
    }
    let daemon = Daemon::start(
        &sandbox,
        &[
            ("stats.sock", "allow=stats,mode=0666"),
            ("read.sock", "allow=read"),
            ("team.sock", "allow=read,allow=exec,label=team=a"),
            ("one.sock", "allow=list,allow=lifecycle,container=theirs"),
        ],
    );
    let list = "GET /containers/json";
    let mine_by_id = {
        let id = crate::inspect(&sandbox, "theirs")["Id"].as_str().unwrap().to_owned();
        format!("GET /containers/json?filters={{%22id%22:[%22{id}%22]}}")
    };
    for (socket, request, status) in [
        ("stats.sock", "GET /_ping", 200),
        ("stats.sock", "GET /containers/mine/stats?stream=0", 200),
        ("stats.sock", "GET /containers/mine/top", 200),
        ("stats.sock", list, 403),
        ("stats.sock", "GET /containers/mine/json", 403),
        ("stats.sock", "POST /containers/mine/stop", 403),
        ("stats.sock", "GET /nothing", 404),
        ("read.sock", list, 200),
        ("read.sock", "GET /containers/mine/json", 200),
        ("read.sock", "GET /images/json", 200),
        ("read.sock", "GET /containers/mine/archive?path=/etc", 403),
        ("read.sock", "GET /containers/mine/export", 403),
        ("read.sock", "POST /containers/create", 403),
        ("read.sock", "POST /containers/mine/exec", 403),
        ("read.sock", "POST /containers/mine/kill", 403),
        ("read.sock", "DELETE /containers/mine", 403),
        ("read.sock", "DELETE /containers/%6dine", 403),
        ("read.sock", "POST /images/create?fromImage=x", 403),
        ("read.sock", "PUT /containers/mine/archive?path=/", 403),
        ("team.sock", "GET /containers/mine/json", 200),
        ("team.sock", "GET /containers/theirs/json", 404),
        ("team.sock", "GET /containers/theirs/logs?stdout=1", 404),
        ("team.sock", "GET /dhow/containers/mine/explain", 200),
        ("team.sock", "GET /dhow/containers/theirs/explain", 404),
        ("team.sock", "GET /images/json", 403),
        ("team.sock", "GET /events?until=1", 403),
        ("team.sock", "GET /exec/none/json", 404),
        ("one.sock", "POST /containers/mine/stop", 404),
        ("one.sock", "POST /containers/theirs/pause", 204),
        ("one.sock", "POST /containers/theirs/unpause", 204),
        ("one.sock", "GET /containers/theirs/json", 403),
    ] {
        let (found, body) = daemon.ask(socket, request);
        assert_eq!(found, status, "{socket} {request}: {body}");
        assert!(
            status != 403 || body.contains("is not allowed on this socket"),
            "{request}: {body}"
        );
    }
    let names = |socket: &str, request: &str| {
        let (_, body) = daemon.ask(socket, request);
        let list: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
        list.iter().map(|one| one["Names"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("read.sock", list).len(), 2);
    assert_eq!(names("team.sock", list), ["/mine"]);
    assert_eq!(names("one.sock", list), ["/theirs"]);
    assert_eq!(names("team.sock", &mine_by_id), [""; 0], "a filter widens nothing");
    let wide = "GET /containers/json?filters={%22name%22:[%22mine%22],%22id%22:[%22%22]}";
    assert_eq!(names("one.sock", wide), [""; 0]);
    // The others have all, and the files are as they were said to be.
    assert_eq!(daemon.ask("dhow.sock", "GET /containers/theirs/export").0, 200);
    let mode = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(sandbox.state().join(name)).unwrap();
        (found.mode() & 0o777, found.gid())
    };
    assert_eq!((mode("stats.sock"), mode("read.sock")), ((0o666, 0), (0o660, 0)));
    drop(daemon);
    let path = sandbox.state().join("odd.sock");
    for (allowed, want) in [("", "it allows nothing"), (",allow=frob", "there is no such group")] {
        let odd = sandbox.dhow(&["daemon", "--socket", &format!("{}{allowed}", path.display())]);
        assert!(odd.code == 1 && odd.stderr.contains(want) && !path.exists(), "{odd:?}");
    }
    sandbox.ok(&["rm", "-f", "mine", "theirs"]);
    sandbox.finish();
}
