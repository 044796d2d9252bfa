//! What people are shown of a step: `[linux/amd64 build 2/5] RUN make`.

use oci::image::Platform;

use super::env::Env;
use crate::expand::{Expander, Variables};

/// What a step's name begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter {
    /// The stage, where there are several.
    pub(crate) stage: String,
    /// The step that was named last.
    pub(crate) at: usize,
    /// How many there are.
    pub(crate) total: usize,
    /// The platform is named, too.
    pub(crate) with_platform: bool,
}

impl Counter {
    /// The beginning of the next step's name.
    pub(crate) fn next(&mut self, platform: Option<&Platform>, env: &Env, onbuild: bool) -> String {
        self.at += 1;
        self.same(platform, env, onbuild)
    }

    /// The beginning of the last step's name.
    pub(crate) fn same(&self, platform: Option<&Platform>, env: &Env, onbuild: bool) -> String {
        if self.total == 0 {
            return String::new();
        }
        let mut out = String::from("[");
        if let Some(platform) = platform.filter(|_| self.with_platform) {
            out += &format!("{platform}{} ", for_platform(platform, env));
        }
        if !self.stage.is_empty() {
            out += &format!("{} ", self.stage);
        }
        let width = self.total.to_string().len();
        out += &format!("{:width$}/{}] ", self.at, self.total);
        if onbuild {
            out += "ONBUILD ";
        }
        out
    }
}

/// `->arm64`, where a program on one platform makes something for another.
fn for_platform(own: &Platform, env: &Env) -> String {
    let Some(target) = target(own, env) else { return String::new() };
    if target.os != own.os {
        return format!("->{target}");
    }
    if target.architecture == own.architecture {
        return String::new();
    }
    match target.variant {
        Some(variant) => format!("->{}/{variant}", target.architecture),
        None => format!("->{}", target.architecture),
    }
}

fn target(own: &Platform, env: &Env) -> Option<Platform> {
    if let Some(Ok(platform)) = env.get("TARGETPLATFORM").map(str::parse::<Platform>) {
        return Some(platform.normalized());
    }
    let of = |name| env.get(name).map(str::to_owned);
    let (os, architecture, variant) = (of("TARGETOS"), of("TARGETARCH"), of("TARGETVARIANT"));
    if os.is_none() && architecture.is_none() && variant.is_none() {
        return None;
    }
    let or = |text: Option<String>, other: &str| {
        text.filter(|text| !text.is_empty()).unwrap_or_else(|| other.to_owned())
    };
    let platform = Platform {
        os: or(os, &own.os),
        architecture: or(architecture, &own.architecture),
        variant: variant.filter(|text| !text.is_empty()),
        ..Platform::default()
    };
    Some(platform.normalized())
}

/// An instruction with its variables, where they can be replaced; its name in capitals.
pub(crate) fn text(text: &str, how: Expander, variables: &dyn Variables) -> String {
    let text = how.expand(text, variables).map_or_else(|_| text.to_owned(), |found| found.text);
    match text.split_once(' ') {
        Some((name, rest)) => format!("{} {rest}", name.to_uppercase()),
        None => text.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        let mut counter = Counter { total: 11, ..Counter::default() };
        let mut env = Env::default();
        assert_eq!(counter.next(None, &env, false), "[ 1/11] ");
        counter.stage = "build".into();
        counter.with_platform = true;
        let amd64: Platform = "linux/amd64".parse().unwrap();
        assert_eq!(counter.next(Some(&amd64), &env, true), "[linux/amd64 build  2/11] ONBUILD ");
        env.set("TARGETPLATFORM", "linux/arm/v7");
        assert_eq!(counter.same(Some(&amd64), &env, false), "[linux/amd64->arm/v7 build  2/11] ");
        env.unset("TARGETPLATFORM");
        env.set("TARGETARCH", "arm64");
        assert_eq!(counter.same(Some(&amd64), &env, false), "[linux/amd64->arm64 build  2/11] ");
        assert_eq!(Counter::default().next(None, &env, false), "");
        assert_eq!(text("run echo $TARGETARCH", Expander::new('\\'), &env), "RUN echo arm64");
    }
}
