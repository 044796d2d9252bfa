//! Commands on containers that do not join their streams.

use std::future::{Future as _, poll_fn};
use std::task::Poll;

use docker::container::{
    Applied, FilesystemChange, TopResponse, UpdateRequest, UpdateResponse, WaitResponse,
};
use serde_json::json;

use crate::almost;
use crate::args::{KillArgs, LogsArgs, RmArgs, StopArgs, TopArgs, UpdateArgs};
use crate::client::{Client, empty, encode};
use crate::error::{Error, Result};
use crate::format::{human, table};
use crate::request;
use crate::stream::Output;

/// How many containers are dealt with at once, as Docker's client does.
const AT_ONCE: usize = 50;

/// Does the same to each container, and prints the name of each with which it went well. One
/// failure does not keep the others from their turn.
pub(crate) async fn each(names: &[String], act: impl AsyncFn(&str) -> Result<()>) -> Result<i32> {
    let mut code = 0;
    for name in names {
        code = tell(name, act(name).await).max(code);
    }
    Ok(code)
}

/// The same to all at once, for what has to be waited for. What came of it is told in the order of the
/// names.
pub(crate) async fn each_at_once(
    names: &[String],
    act: impl AsyncFn(&str) -> Result<()>,
) -> Result<i32> {
    let mut code = 0;
    for chunk in names.chunks(AT_ONCE) {
        let mut running: Vec<_> = chunk.iter().map(|name| Some(Box::pin(act(name)))).collect();
        let mut results: Vec<Option<Result<()>>> = chunk.iter().map(|_| None).collect();
        for (at, name) in chunk.iter().enumerate() {
            let result = poll_fn(|cx| {
                for (future, result) in running.iter_mut().zip(&mut results) {
                    if let Some(Poll::Ready(ready)) =
                        future.as_mut().map(|one| one.as_mut().poll(cx))
                    {
                        *result = Some(ready);
                        *future = None;
                    }
                }
                results[at].take().map_or(Poll::Pending, Poll::Ready)
            });
            code = tell(name, result.await).max(code);
        }
    }
    Ok(code)
}

/// Tells what came of one. The exit code.
fn tell(name: &str, result: Result<()>) -> i32 {
    match result {
        Ok(()) => {
            println!("{name}");
            0
        }
        Err(Error::AsItShouldBe(why)) => {
            if !why.is_empty() {
                eprintln!("dhow: {why}");
            }
            0
        }
        Err(err) => {
            eprintln!("dhow: {err}");
            1
        }
    }
}

/// `pause`, `unpause`.
pub(crate) async fn simple(client: &Client, names: &[String], action: &str) -> Result<i32> {
    each(names, async |name: &str| {
        let path = format!("/containers/{}/{action}", encode(name));
        almost::told(client, client.post_empty(&path).await).await
    })
    .await
}

/// `stop`, `restart`.
pub(crate) async fn stop(client: &Client, args: &StopArgs, action: &str) -> Result<i32> {
    let mut query = Vec::new();
    if let Some(signal) = &args.signal {
        query.push(format!("signal={}", encode(signal)));
    }
    if let Some(seconds) = args.time {
        query.push(format!("t={seconds}"));
    }
    let query = query.join("&");
    each_at_once(&args.names.containers, async |name: &str| {
        let path = format!("/containers/{}/{action}?{query}", encode(name));
        almost::told(client, client.post_empty(&path).await).await
    })
    .await
}

/// `kill`.
pub(crate) async fn kill(client: &Client, args: &KillArgs) -> Result<i32> {
    let signal = encode(args.signal.as_deref().unwrap_or("KILL"));
    each_at_once(&args.names.containers, async |name: &str| {
        let path = format!("/containers/{}/kill?signal={signal}", encode(name));
        almost::told(client, client.post_empty(&path).await).await
    })
    .await
}

/// `rm`.
pub(crate) async fn rm(client: &Client, args: &RmArgs) -> Result<i32> {
    let query = format!(
        "force={}&v={}&link={}",
        u8::from(args.force),
        u8::from(args.volumes),
        u8::from(args.link)
    );
    each_at_once(&args.names.containers, async |name: &str| {
        let removed = client.delete(&format!("/containers/{}?{query}", encode(name))).await;
        match almost::told(client, removed).await {
            // With --force, what is gone already is as it should be.
            Err(err) if args.force && err.is_not_found() => {
                Err(Error::AsItShouldBe(err.to_string()))
            }
            removed => removed.map(drop),
        }
    })
    .await
}

/// `wait`: prints each exit code.
pub(crate) async fn wait(client: &Client, names: &[String]) -> Result<i32> {
    let mut code = 0;
    for name in names {
        let path = format!("/containers/{}/wait", encode(name));
        let ended = client.post::<WaitResponse>(&path, &json!({})).await;
        match almost::told(client, ended).await {
            Ok(response) => println!("{}", response.status_code),
            Err(err) => {
                eprintln!("dhow: {err}");
                code = 1;
            }
        }
    }
    Ok(code)
}

/// `rename`.
pub(crate) async fn rename(client: &Client, container: &str, new_name: &str) -> Result<i32> {
    let path = format!("/containers/{}/rename?name={}", encode(container), encode(new_name));
    client.post_empty(&path).await.map(|()| 0)
}

/// `top`.
pub(crate) async fn top(client: &Client, args: &TopArgs) -> Result<i32> {
    let mut path = format!("/containers/{}/top", encode(&args.container));
    if !args.ps_args.is_empty() {
        path.push_str("?ps_args=");
        path.push_str(&encode(&args.ps_args.join(" ")));
    }
    let top: TopResponse = client.get(&path).await?;
    let mut rows = vec![top.titles.to_vec()];
    rows.extend(top.processes.iter().map(|row| row.to_vec()));
    print!("{}", table::render_wide(&rows));
    Ok(0)
}

/// `port`.
pub(crate) async fn port(client: &Client, container: &str, port: Option<&str>) -> Result<i32> {
    let info: docker::ContainerInspect =
        client.get(&format!("/containers/{}/json", encode(container))).await?;
    let wanted =
        port.map(|port| if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") });
    let mut found = false;
    for (private, bindings) in &info.network_settings.ports {
        if wanted.as_ref().is_some_and(|wanted| wanted != private) {
            continue;
        }
        for binding in bindings {
            found = true;
            let address = host_address(&binding.host_ip, &binding.host_port);
            if wanted.is_some() {
                println!("{address}");
            } else {
                println!("{private} -> {address}");
            }
        }
    }
    match wanted {
        Some(wanted) if !found => {
            Err(Error::Usage(format!("no public port {wanted:?} published for {container}")))
        }
        _ => Ok(0),
    }
}

/// An address and a port as a URL would have them.
pub(crate) fn host_address(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// `update`.
pub(crate) async fn update(client: &Client, args: &UpdateArgs) -> Result<i32> {
    let resources = request::update(args)?;
    let restart_policy = args.restart.as_deref().map(request::restart).transpose()?;
    let restart_policy = restart_policy.unwrap_or_default();
    let changes = request::changes(&args.changes)?;
    if changes.is_none() && args.restart.is_none() && !sets_limits(args) {
        return Err(Error::Usage(
            "you must provide one or more flags when using this command".to_owned(),
        ));
    }
    let update = UpdateRequest { resources, restart_policy, changes };
    each(&args.names.containers, async |name: &str| {
        let path = format!("/containers/{}/update", encode(name));
        let answer = client.post::<UpdateResponse>(&path, &update).await;
        let answer = almost::told(client, answer).await?;
        for warning in &answer.warnings {
            eprintln!("WARNING: {warning}");
        }
        for Applied { change, when } in &answer.applied {
            let when = if when == "now" { "now" } else { "with the next start" };
            eprintln!("{name}: {change}: {when}");
        }
        Ok(())
    })
    .await
}

/// Whether any limit is said.
fn sets_limits(args: &UpdateArgs) -> bool {
    let texts = [
        &args.cpus,
        &args.cpuset_cpus,
        &args.cpuset_mems,
        &args.memory,
        &args.memory_reservation,
        &args.memory_swap,
    ];
    let numbers = [
        args.cpu_shares,
        args.cpu_period,
        args.cpu_quota,
        args.cpu_rt_period,
        args.cpu_rt_runtime,
        args.pids_limit,
    ];
    args.blkio_weight.is_some()
        || numbers.iter().any(Option::is_some)
        || texts.iter().any(|text| text.is_some())
}

/// `diff`.
pub(crate) async fn diff(client: &Client, container: &str) -> Result<i32> {
    let path = format!("/containers/{}/changes", encode(container));
    let changes: Option<Vec<FilesystemChange>> = client.get(&path).await?;
    for change in changes.unwrap_or_default() {
        let letter = match change.kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        println!("{letter} {}", change.path);
    }
    Ok(0)
}

/// `logs`.
pub(crate) async fn logs(client: &Client, args: &LogsArgs) -> Result<i32> {
    let name = encode(&args.container);
    let info: docker::ContainerInspect = client.get(&format!("/containers/{name}/json")).await?;
    let path = format!(
        "/containers/{}/logs?stdout=1&stderr=1&follow={}&timestamps={}&details={}&tail={}&since={}&until={}",
        info.id,
        u8::from(args.follow),
        u8::from(args.timestamps),
        u8::from(args.details),
        encode(&args.tail),
        encode(&timestamp(args.since.as_deref())?),
        encode(&timestamp(args.until.as_deref())?),
    );
    let mut response = client.call(hyper::Method::GET, &path, empty()).await?;
    let mut output = Output::new(info.config.tty);
    while let Some(piece) = client.next_piece(&mut response).await? {
        output.write(&piece)?;
    }
    output.finish().map(|()| 0)
}

/// A point in time for the API, in seconds since 1970: from those seconds, a date, or a length of
/// time before now.
pub(crate) fn timestamp(given: Option<&str>) -> Result<String> {
    let Some(given) = given else { return Ok(String::new()) };
    if let Ok(nanoseconds) = docker::units::parse_duration(given) {
        return Ok((human::now() - nanoseconds / 1_000_000_000).to_string());
    }
    let time =
        docker::timestamp::Timestamp::parse(given).map_err(|err| Error::Usage(err.to_string()))?;
    Ok(format!("{}.{:09}", time.seconds, time.nanos))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_is_waited_for_at_once() {
        let names: Vec<String> = (0..120).map(|n| n.to_string()).collect();
        let (running, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let code = each_at_once(&names, async |name: &str| {
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.set(running.get() - 1);
            done.set(done.get() + 1);
            if name == "7" { Err(Error::Usage("no".into())) } else { Ok(()) }
        });
        assert_eq!(code.await.unwrap(), 1);
        assert_eq!((most.get(), done.get()), (AT_ONCE, 120));
    }
}
