//! Definitions as text in JSON, as the answers of front ends have them (`frontend.convertllb`): operations by their
//! digests, as protobuf's own JSON; what is said beside them as BuildKit's client writes it.

use std::collections::BTreeMap;

use buildkit::pb::{self, op::Op as PbOp};
use data_encoding::BASE64;
use oci::Digest;
use prost::Message as _;
use serde_json::{Map, Value};

/// A definition: `def`, `metadata`, `source`. Bytes that are no operation are left out.
pub fn json(definition: &pb::Definition) -> Value {
    let operations = definition.def.iter().filter_map(|bytes| {
        let op = pb::Op::decode(bytes.as_slice()).ok()?;
        Some((Digest::sha256(bytes).to_string(), operation(&op)))
    });
    let about = definition.metadata.iter().map(|(digest, one)| (digest.clone(), metadata(one)));
    let source = definition.source.as_ref().map_or_else(|| Object::default().end(), source);
    Object::default()
        .set("def", Value::Object(operations.collect()))
        .set("metadata", Value::Object(about.collect()))
        .set("source", source)
        .end()
}

/// An object on its way. What is 0, false, empty or not there is left out.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn end(self) -> Value {
        Value::Object(self.0)
    }

    /// Whatever it is.
    fn set(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    fn some(self, name: &str, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    fn text(self, name: &str, text: &str) -> Self {
        self.some(name, (!text.is_empty()).then(|| text.into()))
    }

    fn texts(self, name: &str, all: &[String]) -> Self {
        self.list(name, all.iter().map(|text| text.as_str().into()))
    }

    fn flag(self, name: &str, flag: bool) -> Self {
        self.some(name, flag.then_some(Value::Bool(true)))
    }

    /// Of 32 bits, or where it is no text.
    fn number(self, name: &str, number: impl Into<i64>) -> Self {
        let number: i64 = number.into();
        self.some(name, (number != 0).then(|| number.into()))
    }

    /// Of 64 bits, which is a text in JSON.
    fn long(self, name: &str, number: i64) -> Self {
        self.some(name, (number != 0).then(|| number.to_string().into()))
    }

    /// One of several words, by its number; a number that has none is itself.
    fn word(self, name: &str, number: i32, word: Option<&str>) -> Self {
        let value = word.map_or_else(|| number.into(), Value::from);
        self.some(name, (number != 0).then_some(value))
    }

    fn list(self, name: &str, all: impl Iterator<Item = Value>) -> Self {
        let all: Vec<Value> = all.collect();
        self.some(name, (!all.is_empty()).then_some(Value::Array(all)))
    }

    fn map(self, name: &str, all: impl Iterator<Item = (String, Value)>) -> Self {
        let all: Map<String, Value> = all.collect();
        self.some(name, (!all.is_empty()).then_some(Value::Object(all)))
    }
}

fn texts(all: &BTreeMap<String, String>) -> impl Iterator<Item = (String, Value)> {
    all.iter().map(|(key, value)| (key.clone(), value.as_str().into()))
}

fn operation(op: &pb::Op) -> Value {
    let inputs = op.inputs.iter();
    let inputs = inputs
        .map(|one| Object::default().text("digest", &one.digest).long("index", one.index).end());
    let object = Object::default().list("inputs", inputs);
    let object = match &op.op {
        Some(PbOp::Exec(one)) => object.set("exec", exec(one)),
        Some(PbOp::Source(one)) => {
            let source = Object::default().text("identifier", &one.identifier);
            object.set("source", source.map("attrs", texts(&one.attrs)).end())
        }
        Some(PbOp::File(one)) => {
            let actions = Object::default().list("actions", one.actions.iter().map(action));
            object.set("file", actions.end())
        }
        Some(PbOp::Merge(one)) => {
            let inputs = one.inputs.iter().map(|one| input(one.input));
            object.set("merge", Object::default().list("inputs", inputs).end())
        }
        Some(PbOp::Diff(one)) => {
            let lower = one.lower.as_ref().map(|one| input(one.input));
            let upper = one.upper.as_ref().map(|one| input(one.input));
            object.set("diff", Object::default().some("lower", lower).some("upper", upper).end())
        }
        Some(PbOp::Passthrough(one)) => {
            let outputs = one.outputs.iter().map(|number| number.to_string().into());
            let passed = Object::default().text("id", &one.id).list("outputs", outputs);
            object.set("passthrough", passed.end())
        }
        // No graph has a build inside it.
        Some(PbOp::Build(_)) | None => object,
    };
    let platform = op.platform.as_ref().map(|one| {
        Object::default()
            .text("Architecture", &one.architecture)
            .text("OS", &one.os)
            .text("Variant", &one.variant)
            .text("OSVersion", &one.os_version)
            .texts("OSFeatures", &one.os_features)
            .end()
    });
    let constraints = op.constraints.as_ref();
    let constraints = constraints.map(|one| Object::default().texts("filter", &one.filter).end());
    object.some("platform", platform).some("constraints", constraints).end()
}

fn input(number: i64) -> Value {
    Object::default().long("input", number).end()
}

fn exec(op: &pb::ExecOp) -> Value {
    let network = pb::NetMode::try_from(op.network).ok();
    let security = pb::SecurityMode::try_from(op.security).ok();
    let secrets = op.secretenv.iter().map(|one| {
        let secret = Object::default().text("ID", &one.id).text("name", &one.name);
        secret.flag("optional", one.optional).end()
    });
    let devices = op.cdi_devices.iter();
    let devices = devices
        .map(|one| Object::default().text("name", &one.name).flag("optional", one.optional).end());
    Object::default()
        .some("meta", op.meta.as_ref().map(meta))
        .list("mounts", op.mounts.iter().map(mount))
        .word("network", op.network, network.map(|one| one.as_str_name()))
        .word("security", op.security, security.map(|one| one.as_str_name()))
        .list("secretenv", secrets)
        .list("cdiDevices", devices)
        .end()
}

fn meta(meta: &pb::Meta) -> Value {
    let proxies = meta.proxy_env.as_ref().map(|one| {
        Object::default()
            .text("httpProxy", &one.http_proxy)
            .text("httpsProxy", &one.https_proxy)
            .text("ftpProxy", &one.ftp_proxy)
            .text("noProxy", &one.no_proxy)
            .text("allProxy", &one.all_proxy)
            .end()
    });
    let hosts = meta.extra_hosts.iter();
    let hosts =
        hosts.map(|one| Object::default().text("Host", &one.host).text("IP", &one.ip).end());
    let ulimits = meta.ulimit.iter().map(|one| {
        let limit = Object::default().text("Name", &one.name);
        limit.long("Soft", one.soft).long("Hard", one.hard).end()
    });
    Object::default()
        .texts("args", &meta.args)
        .texts("env", &meta.env)
        .text("cwd", &meta.cwd)
        .text("user", &meta.user)
        .some("proxyEnv", proxies)
        .list("extraHosts", hosts)
        .text("hostname", &meta.hostname)
        .list("ulimit", ulimits)
        .text("cgroupParent", &meta.cgroup_parent)
        .flag("removeMountStubsRecursive", meta.remove_mount_stubs_recursive)
        .list("validExitCodes", meta.valid_exit_codes.iter().map(|code| (*code).into()))
        .end()
}

fn mount(mount: &pb::Mount) -> Value {
    let kind = pb::MountType::try_from(mount.mount_type).ok();
    let content = pb::MountContentCache::try_from(mount.content_cache).ok();
    let tmpfs = mount.tmpfs_opt.as_ref();
    let tmpfs = tmpfs.map(|one| Object::default().long("size", one.size).end());
    let cache = mount.cache_opt.as_ref().map(|one| {
        let sharing = pb::CacheSharingOpt::try_from(one.sharing).ok();
        let sharing = sharing.map(|one| one.as_str_name());
        Object::default().text("ID", &one.id).word("sharing", one.sharing, sharing).end()
    });
    let file = |id: &str, uid: u32, gid: u32, mode: u32, optional: bool| {
        let owned = Object::default().text("ID", id).number("uid", uid).number("gid", gid);
        owned.number("mode", mode).flag("optional", optional).end()
    };
    let secret = mount.secret_opt.as_ref();
    let secret = secret.map(|one| file(&one.id, one.uid, one.gid, one.mode, one.optional));
    let ssh = mount.ssh_opt.as_ref();
    let ssh = ssh.map(|one| file(&one.id, one.uid, one.gid, one.mode, one.optional));
    Object::default()
        .long("input", mount.input)
        .text("selector", &mount.selector)
        .text("dest", &mount.dest)
        .long("output", mount.output)
        .flag("readonly", mount.readonly)
        .word("mountType", mount.mount_type, kind.map(|one| one.as_str_name()))
        .some("TmpfsOpt", tmpfs)
        .some("cacheOpt", cache)
        .some("secretOpt", secret)
        .some("SSHOpt", ssh)
        .text("resultID", &mount.result_id)
        .word("contentCache", mount.content_cache, content.map(|one| one.as_str_name()))
        .end()
}

fn action(action: &pb::FileAction) -> Value {
    use pb::file_action::Action;

    let object = Object::default()
        .long("input", action.input)
        .long("secondaryInput", action.secondary_input)
        .long("output", action.output);
    let Some(what) = &action.action else { return object.end() };
    let (name, what) = match what {
        Action::Copy(one) => ("copy", copy(one)),
        Action::Mkfile(one) => {
            let made = Object::default().text("path", &one.path).number("mode", one.mode);
            let data = (!one.data.is_empty()).then(|| BASE64.encode(&one.data).into());
            let made = made.some("data", data).some("owner", one.owner.as_ref().map(owner));
            ("mkfile", made.long("timestamp", one.timestamp).end())
        }
        Action::Mkdir(one) => {
            let made = Object::default().text("path", &one.path).number("mode", one.mode);
            let made = made.flag("makeParents", one.make_parents);
            let made = made.some("owner", one.owner.as_ref().map(owner));
            ("mkdir", made.long("timestamp", one.timestamp).end())
        }
        Action::Symlink(one) => {
            let made = Object::default().text("oldpath", &one.oldpath);
            let made = made.text("newpath", &one.newpath);
            let made = made.some("owner", one.owner.as_ref().map(owner));
            ("symlink", made.long("timestamp", one.timestamp).end())
        }
        Action::Rm(one) => {
            let removed = Object::default().text("path", &one.path);
            let removed = removed.flag("allowNotFound", one.allow_not_found);
            ("rm", removed.flag("allowWildcard", one.allow_wildcard).end())
        }
    };
    object.set(name, what).end()
}

fn copy(copy: &pb::FileActionCopy) -> Value {
    let unpack = copy.attempt_unpack_docker_compatibility;
    Object::default()
        .text("src", &copy.src)
        .text("dest", &copy.dest)
        .some("owner", copy.owner.as_ref().map(owner))
        .number("mode", copy.mode)
        .flag("followSymlink", copy.follow_symlink)
        .flag("dirCopyContents", copy.dir_copy_contents)
        .flag("attemptUnpackDockerCompatibility", unpack)
        .flag("createDestPath", copy.create_dest_path)
        .flag("allowWildcard", copy.allow_wildcard)
        .flag("allowEmptyWildcard", copy.allow_empty_wildcard)
        .long("timestamp", copy.timestamp)
        .texts("includePatterns", &copy.include_patterns)
        .texts("excludePatterns", &copy.exclude_patterns)
        .flag("alwaysReplaceExistingDestPaths", copy.always_replace_existing_dest_paths)
        .text("modeStr", &copy.mode_str)
        .texts("requiredPaths", &copy.required_paths)
        .end()
}

fn owner(owner: &pb::ChownOpt) -> Value {
    use pb::user_opt::User;

    let who = |one: &pb::UserOpt| {
        let object = Object::default();
        let object = match &one.user {
            Some(User::ByName(named)) => {
                let user = Object::default().text("name", &named.name);
                object.set("byName", user.long("input", named.input).end())
            }
            // It is said, also where it is 0.
            Some(User::ById(id)) => object.set("byID", (*id).into()),
            None => object,
        };
        object.end()
    };
    let (user, group) = (owner.user.as_ref().map(who), owner.group.as_ref().map(who));
    Object::default().some("user", user).some("group", group).end()
}

/// What BuildKit's client has beside an operation, in its own words.
fn metadata(of: &pb::OpMetadata) -> Value {
    let group = of.progress_group.as_ref().map(|one| {
        let group = Object::default().text("id", &one.id).text("name", &one.name);
        group.flag("weak", one.weak).end()
    });
    let limits = of.linux_resources.as_ref().map(|one| {
        // Here numbers are numbers.
        let number = |number: u64| (number != 0).then(|| number.into());
        Object::default()
            .number("memory", one.memory)
            .number("memorySwap", one.memory_swap)
            .some("cpuShares", number(one.cpu_shares))
            .some("cpuPeriod", number(one.cpu_period))
            .number("cpuQuota", one.cpu_quota)
            .text("cpusetCpus", &one.cpuset_cpus)
            .text("cpusetMems", &one.cpuset_mems)
            .end()
    });
    let caps = of.caps.iter().map(|(name, needed)| (name.clone(), (*needed).into()));
    Object::default()
        .flag("ignore_cache", of.ignore_cache)
        .map("description", texts(&of.description))
        .map("caps", caps)
        .some("progress_group", group)
        .some("linux_resources", limits)
        .end()
}

fn source(source: &pb::Source) -> Value {
    let position = |at: &pb::Position| {
        Object::default().number("line", at.line).number("character", at.character).end()
    };
    let range = |range: &pb::Range| {
        let (start, end) = (range.start.as_ref().map(position), range.end.as_ref().map(position));
        Object::default().some("start", start).some("end", end).end()
    };
    let location = |one: &pb::Location| {
        let place = Object::default().number("sourceIndex", one.source_index);
        place.list("ranges", one.ranges.iter().map(range)).end()
    };
    let locations = source.locations.iter().map(|(digest, all)| {
        let places = Object::default().list("locations", all.locations.iter().map(location));
        (digest.clone(), places.end())
    });
    let infos = source.infos.iter().map(|one| {
        let data = (!one.data.is_empty()).then(|| BASE64.encode(&one.data).into());
        let info = Object::default().text("filename", &one.filename).some("data", data);
        info.text("language", &one.language).end()
    });
    Object::default().map("locations", locations).list("infos", infos).end()
}
