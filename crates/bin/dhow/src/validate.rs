//! What is wrong with a file of settings, told before a daemon is started with it: `dockerd --validate`.

use std::path::Path;

use cli::DaemonArgs;
use containers::Settings;

use crate::collector::Policies;
use crate::host::{chain, settings};
use crate::listening::Listening;

/// Judges `file` with the flags that win over it, and says so on standard error, as `dockerd` does.
///
/// # Errors
///
/// What a daemon would not start with, and keys that nobody knows, which one that starts only warns of.
pub(crate) fn judge(args: &DaemonArgs, file: &Path) -> Result<(), String> {
    let settings = check(args, file).map_err(|why| {
        format!("unable to configure the Docker daemon with file {}: {why}", file.display())
    })?;
    for key in settings.unused() {
        eprintln!("dhow: warning: {}: \"{key}\" has no effect", file.display());
    }
    eprintln!("configuration OK");
    Ok(())
}

/// All that a daemon reads of the file, as far as it can be judged without one. Nothing is opened but this file
/// and those that it names.
fn check(args: &DaemonArgs, file: &Path) -> Result<Settings, String> {
    if args.config_file.is_some() {
        // Elsewhere one that is not there sets nothing.
        std::fs::metadata(file).map_err(|err| err.to_string())?;
    }
    Policies::of(args, file)?;
    // Where it would listen by default is not what is in question.
    Listening::of(args, file, Path::new("/"))?.check()?;
    let settings = settings(file, args.userns_remap.as_ref())?;
    settings.check().map_err(|err| chain(&err))?;
    let variable = |name: &str| match (name, &args.config_file) {
        ("DHOW_CONFIG", Some(file)) => Some(file.display().to_string()),
        _ => std::env::var(name).ok(),
    };
    registry::Settings::of_this_machine(&variable).map_err(|err| chain(&err))?;
    let unknown: Vec<&str> = settings.unknown().collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        return Err(format!(
            "the following directives don't match any configuration option: {unknown}"
        ));
    }
    Ok(settings)
}
