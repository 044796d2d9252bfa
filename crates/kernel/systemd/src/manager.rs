//! systemd's manager of units.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use dbus::{Message, Type, Value};

use crate::address::{self, Address};
use crate::bus::{Bus, PATIENCE};
use crate::error::{Error, pass};

/// A property of a unit, with its value as systemd wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Property {
    /// A property.
    pub fn new(name: impl Into<String>, value: Value) -> Self {
        Self { name: name.into(), value }
    }
}

/// Whose manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The machine's.
    System,
    /// The calling user's.
    User,
}

const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A connection to systemd.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
    /// Its name on the bus; empty where there is none between.
    name: &'static str,
}

impl Manager {
    /// Connects. For the machine's: straight to systemd if that lets us, else over the system's bus.
    pub fn connect(whose: Whose) -> Result<Self, Error> {
        if !crate::is_running() {
            return Err(Error::NotRunning);
        }
        match whose {
            Whose::System => {
                let private = [Address::Path(PathBuf::from("/run/systemd/private"))];
                if rustix::process::geteuid().is_root()
                    && let Ok(bus) = Bus::connect(&private, PATIENCE)
                {
                    return Ok(Self { bus, name: "" });
                }
                let told = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
                let mut addresses = address::parse(&told);
                if addresses.is_empty() {
                    addresses.push(Address::Path(PathBuf::from("/run/dbus/system_bus_socket")));
                }
                Self::over_bus(Bus::connect(&addresses, PATIENCE)?)
            }
            Whose::User => Self::over_bus(Bus::connect(&user_addresses()?, PATIENCE)?),
        }
    }

    /// Over a socket that is connected to a bus.
    pub fn over(stream: UnixStream, patience: Duration) -> Result<Self, Error> {
        Self::over_bus(Bus::over(stream, patience)?)
    }

    /// Says hello to the bus, and asks it for the news of jobs.
    fn over_bus(mut bus: Bus) -> Result<Self, Error> {
        const BUS: &str = "org.freedesktop.DBus";
        let call = |member| Message::call(BUS, "/org/freedesktop/DBus", BUS, member);
        bus.call(call("Hello"), "say hello to the bus")?;
        let mut call = call("AddMatch");
        let rule =
            format!("type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'");
        call.body = vec![Value::Str(rule)];
        bus.call(call, "ask the bus for the news of jobs")?;
        let mut manager = Self { bus, name: NAME };
        manager.call("Subscribe", Vec::new(), "ask systemd for the news of jobs")?;
        Ok(manager)
    }

    fn call(&mut self, member: &str, body: Vec<Value>, doing: &str) -> Result<Vec<Value>, Error> {
        let mut call = Message::call(self.name, OBJECT, MANAGER, member);
        call.body = body;
        self.bus.call(call, doing)
    }

    /// Makes a unit and waits until it is there. One of the name that failed before is forgotten
    /// first.
    pub fn start_transient(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        pass("systemd.start")?;
        let doing = format!("unable to start unit {unit:?}");
        let body = vec![
            Value::string(unit),
            Value::string("replace"),
            list(properties),
            // No units besides.
            Value::Array(auxiliary(), Vec::new()),
        ];
        let mut started = self.call("StartTransientUnit", body.clone(), &doing);
        if started.as_ref().is_err_and(|error| error.is("UnitExists")) {
            self.reset_failed(unit)?;
            started = self.call("StartTransientUnit", body, &doing);
        }
        let result = self.job(&started?, &doing);
        match result.as_deref() {
            Ok("done") => pass("systemd.started"),
            Ok(other) => {
                let result = other.to_owned();
                self.reset_failed(unit)?;
                Err(Error::Job { unit: unit.to_owned(), result })
            }
            Err(_) => {
                // The first error is the one to tell.
                let _ = self.reset_failed(unit);
                result.map(drop)
            }
        }
    }

    /// Changes a unit for as long as the machine runs.
    pub fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        if properties.is_empty() {
            return Ok(());
        }
        pass("systemd.set")?;
        let body = vec![Value::string(unit), Value::Bool(true), list(properties)];
        self.call(
            "SetUnitProperties",
            body,
            &format!("unable to set unit properties of {unit:?}"),
        )?;
        pass("systemd.was-set")
    }

    /// Stops a unit and waits until it is gone. None of that name is fine.
    pub fn stop(&mut self, unit: &str) -> Result<(), Error> {
        pass("systemd.stop")?;
        let doing = format!("unable to stop unit {unit:?}");
        let body = vec![Value::string(unit), Value::string("replace")];
        match self.call("StopUnit", body, &doing) {
            Err(error) if error.is("NoSuchUnit") => {}
            // How the job ended is no matter: what it was about is looked at next.
            other => drop(self.job(&other?, &doing)?),
        }
        self.reset_failed(unit)?;
        pass("systemd.stopped")
    }

    /// Has systemd forget that a unit failed, so that it may go. None of that name is fine.
    fn reset_failed(&mut self, unit: &str) -> Result<(), Error> {
        let doing = format!("forget that unit {unit:?} failed");
        match self.call("ResetFailedUnit", vec![Value::string(unit)], &doing) {
            Err(error) if error.is("NoSuchUnit") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Moves a process to a cgroup beneath a unit's own: `/`, or a path. For who may not do it
    /// without systemd.
    pub fn attach(&mut self, unit: &str, cgroup: &str, pid: i32) -> Result<(), Error> {
        let pids = Value::Array(Type::U32, vec![Value::U32(pid.cast_unsigned())]);
        let body = vec![Value::string(unit), Value::string(cgroup), pids];
        let doing = format!("unable to move process {pid} to unit {unit:?}");
        self.call("AttachProcessesToUnit", body, &doing).map(drop)
    }

    /// A property of the manager itself, which is a text: `Version`, `ControlGroup`.
    pub fn property(&mut self, name: &str) -> Result<String, Error> {
        let doing = format!("ask systemd for its {name}");
        let interface = "org.freedesktop.DBus.Properties";
        let mut call = Message::call(self.name, OBJECT, interface, "Get");
        call.body = vec![Value::string(MANAGER), Value::string(name)];
        let reply = self.bus.call(call, &doing)?;
        match reply.as_slice() {
            [Value::Variant(value)] if value.as_str().is_some() => {
                Ok(value.as_str().unwrap_or_default().to_owned())
            }
            _ => Err(Error::Protocol { doing, answer: format!("{reply:?}") }),
        }
    }

    /// systemd's version: the number in `252.39-1~deb12u1`.
    pub fn version(&mut self) -> Result<u32, Error> {
        let text = self.property("Version")?;
        let digits = text.trim_start_matches('v');
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().map_err(|_| {
            let doing = "ask systemd for its Version".to_owned();
            Error::Protocol { doing, answer: text.clone() }
        })
    }

    /// Waits for a job's end, and answers how it ended.
    fn job(&mut self, started: &[Value], doing: &str) -> Result<String, Error> {
        let [Value::Path(job)] = started else {
            return Err(Error::Protocol {
                doing: doing.to_owned(),
                answer: format!("{started:?}"),
            });
        };
        self.bus.signal(doing, |signal| match signal.body.as_slice() {
            [_, Value::Path(path), _, Value::Str(result)]
                if signal.member == "JobRemoved" && path == job =>
            {
                Some(result.clone())
            }
            _ => None,
        })
    }
}

/// The type of a unit's property: `(sv)`.
fn property() -> Type {
    Type::Struct(vec![Type::Str, Type::Variant])
}

/// The type of another unit: `(sa(sv))`.
fn auxiliary() -> Type {
    Type::Struct(vec![Type::Str, Type::Array(Box::new(property()))])
}

fn list(properties: &[Property]) -> Value {
    let one = |one: &Property| {
        Value::Struct(vec![Value::string(one.name.clone()), one.value.clone().variant()])
    };
    Value::Array(property(), properties.iter().map(one).collect())
}

/// Whether the environment says where the calling user's bus is.
pub fn has_user_bus() -> bool {
    user_addresses().is_ok()
}

/// Where the user's bus is: as runc looks for it.
fn user_addresses() -> Result<Vec<Address>, Error> {
    let told = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let addresses = address::parse(&told);
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let bus = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("bus"));
    match bus.filter(|bus| bus.exists()) {
        Some(bus) => Ok(vec![Address::Path(bus)]),
        None => Err(Error::NoBus(
            "could not detect DBUS_SESSION_BUS_ADDRESS from the environment, and there is no \
             XDG_RUNTIME_DIR/bus: is a session of the user's systemd there (dbus-user-session)?"
                .to_owned(),
        )),
    }
}
