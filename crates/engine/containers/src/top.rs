//! The processes of a container, as the host sees them.
//!
//! Read from the host's `/proc`, for the processes in the container's cgroup. Nothing is executed
//! that the container could have a hand in (CVE-2022-1227).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use cgroup::Cgroup;
use docker::container::TopResponse;
use docker::timestamp::Timestamp;
use shim_protocol::Phase;

use crate::engine::Engine;
use crate::record::Container;
use crate::{Error, clock, control, processes};

/// The columns of `ps -ef`.
const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
/// Where the host's own `ps` may be: nobody's search path has a say.
const PS: [&str; 2] = ["/usr/bin/ps", "/bin/ps"];
/// Clock ticks in a second, as `/proc` counts them on every architecture of Linux.
const TICKS_PER_S: u64 = 100;

impl Engine {
    /// Lists the processes of a container that runs, in the columns that `ps` has with these
    /// arguments; none means `-ef`.
    pub fn top(&self, wanted: &str, ps_args: &str) -> Result<TopResponse, Error> {
        let container = self.find(wanted)?;
        match self.status(&container.id)?.phase {
            Phase::Running | Phase::Paused => {}
            Phase::Restarting => return control::restarting(&container),
            Phase::Created | Phase::Exited => return control::not_running(&container),
        }
        let pids = self.pids(&container)?;
        if matches!(ps_args.trim(), "" | "-ef") {
            return Ok(listing(&pids));
        }
        by_ps(ps_args, &pids)
    }

    /// The processes in a container's cgroup, in order; where it has none, those that `/proc` shows.
    pub(crate) fn pids(&self, container: &Container) -> Result<Vec<i32>, Error> {
        let path = self.cgroup_path(container);
        if path.is_empty() {
            return Ok(processes::of(self.status(&container.id)?.pid));
        }
        let cgroup = Cgroup::open(self.hierarchy()?, &path)?;
        let mut pids = cgroup.procs()?;
        pids.sort_unstable();
        Ok(pids)
    }
}

fn listing(pids: &[i32]) -> TopResponse {
    let users = users();
    let boot = boot_time();
    let rows = pids.iter().filter_map(|&pid| row(pid, &users, boot));
    TopResponse {
        processes: rows.map(|row| row.to_vec().into()).collect(),
        titles: TITLES.map(str::to_owned).to_vec().into(),
    }
}

/// One process; `None` if it has ended.
fn row(pid: i32, users: &BTreeMap<u32, String>, boot: i64) -> Option<[String; 8]> {
    let directory = format!("/proc/{pid}");
    let uid = fs::metadata(&directory).ok()?.uid();
    let stat = fs::read_to_string(format!("{directory}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(')')?;
    let comm = head.split_once('(')?.1;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<i64>().ok());
    // From the third field of proc_pid_stat(5) on.
    let parent = number(1)?;
    let terminal = number(4)?;
    let used = u64::try_from(number(11)? + number(12)?).ok()? / TICKS_PER_S;
    let started = boot + number(19)? / i64::try_from(TICKS_PER_S).ok()?;
    let age = (clock::now() / 1_000_000_000 - started).max(1);
    let busy = i64::try_from(used).ok()? * 100 / age;
    let line = fs::read(format!("{directory}/cmdline")).ok()?;
    Some([
        users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
        pid.to_string(),
        parent.to_string(),
        busy.min(99).to_string(),
        start_time(started),
        terminal_name(terminal),
        format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60),
        command(&line, comm),
    ])
}

/// The host's names of users.
fn users() -> BTreeMap<u32, String> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first of several wins, as in the C library.
    let mut users: Vec<(u32, String)> = text.lines().filter_map(entry).collect();
    users.reverse();
    users.into_iter().collect()
}

/// When the machine started, seconds since 1970.
fn boot_time() -> i64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// `15:04` on the day itself, `Jan02` after it, in UTC.
fn start_time(seconds: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000)).to_string();
    let today = clock::print(clock::now());
    if text.get(..10) == today.get(..10) {
        return text.get(11..16).unwrap_or_default().to_owned();
    }
    let month = text.get(5..7).and_then(|month| month.parse::<usize>().ok()).unwrap_or(1);
    let name = MONTHS.get(month.wrapping_sub(1)).copied().unwrap_or_default();
    format!("{name}{}", text.get(8..10).unwrap_or_default())
}

/// The terminal of a device number as `/proc` gives it: minor in the low and high bits.
fn terminal_name(device: i64) -> String {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    match major {
        4 if minor < 64 => format!("tty{minor}"),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => "?".to_owned(),
    }
}

/// The command line, or the name in brackets where there is none. Control characters become `?`:
/// it ends up on a person's terminal.
pub(crate) fn command(line: &[u8], comm: &str) -> String {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split('\0').collect();
    let joined = words.join(" ");
    let shown = match joined.trim_end() {
        "" => format!("[{comm}]"),
        shown => shown.to_owned(),
    };
    shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The host's `ps` with a person's arguments, cut down to the container's processes.
fn by_ps(ps_args: &str, pids: &[i32]) -> Result<TopResponse, Error> {
    let program = PS.iter().find(|path| std::path::Path::new(path).exists()).ok_or_else(|| {
        Error::NotYet("top with arguments of ps, where the host has no ps: it".into())
    })?;
    let failed = |why: String| Error::Invalid(format!("ps: {why}"));
    let run = |more: Option<&str>| {
        Command::new(program)
            .args(ps_args.split_whitespace())
            .args(more)
            .env_clear()
            .current_dir("/")
            .output()
            .map_err(|err| failed(err.to_string()))
    };
    // By itself it shows only processes of the same user and terminal, unless it is told which; but there are
    // arguments that do not go with that, and so many processes that they are too long for one argument.
    let which: Vec<String> = pids.iter().map(i32::to_string).collect();
    let output = match run(Some(&format!("-q{}", which.join(",")))) {
        Ok(output) if output.status.success() => output,
        _ => run(None)?,
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(failed(text.lines().next().unwrap_or("it failed").trim().to_owned()));
    }
    select(&String::from_utf8_lossy(&output.stdout), pids)
}

fn select(text: &str, pids: &[i32]) -> Result<TopResponse, Error> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let column = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::Invalid("Couldn't find PID field in ps output".into()))?;
    let mut processes = Vec::new();
    for line in lines {
        let mut rest = line.trim();
        let mut row: Vec<String> = Vec::new();
        while row.len() + 1 < titles.len() {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            row.push(word.to_owned());
            rest = after.trim_start();
        }
        row.push(rest.to_owned());
        let pid = row.get(column).and_then(|text| text.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            processes.push(docker::Words::from(row));
        }
    }
    Ok(TopResponse { processes: processes.into(), titles: titles.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_listed() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let top = listing(&[pid, i32::MAX]);
        assert_eq!(top.processes.len(), 1);
        assert_eq!(top.processes[0][1], pid.to_string());
        assert_eq!(top.titles.len(), top.processes[0].len());
    }

    #[test]
    fn terminals_and_commands() {
        assert_eq!(terminal_name(0), "?");
        assert_eq!(terminal_name((136 << 8) | 3), "pts/3");
        assert_eq!(terminal_name((4 << 8) | 1), "tty1");
        assert_eq!(command(b"sh\0-c\0a\x1b[31m\0", "sh"), "sh -c a?[31m");
        assert_eq!(command(b"", "kworker"), "[kworker]");
    }

    #[test]
    fn more_processes_than_an_argument_holds() {
        let pids: Vec<i32> = (1..40_000).collect();
        match by_ps("-eo pid", &pids) {
            // The host has no `ps`.
            Err(Error::NotYet(_)) => {}
            top => assert!(!top.unwrap().processes.is_empty()),
        }
    }

    #[test]
    fn only_the_containers_of_what_ps_says() {
        let text = "USER PID COMMAND\nroot 1 init x\nweb 42 nginx: worker process\n";
        let top = select(text, &[42]).unwrap();
        assert_eq!(&*top.processes[0], ["web", "42", "nginx: worker process"]);
        assert_eq!(top.processes.len(), 1);
        assert!(select("USER\nroot\n", &[1]).is_err());
    }
}
