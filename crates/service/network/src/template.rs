//! Networks that are configurations only: nobody is in them, others are made with what they say (Docker's
//! `config-only` and `config-from`).

use metadata::Read;
use serde::{Deserialize, Serialize};

use crate::create::{DEFAULT_MTU, Gateways, all, chosen_pool, enabled, parse_subnet};
use crate::options::{self, Extras};
use crate::record::Config;
use crate::{CreateRequest, Driver, Error, Network, Networks, PoolRequest, now};

/// What a configuration says that its record does not say elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    /// Ranges, as they were given.
    pub(crate) pools: Vec<PoolRequest>,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

impl Networks {
    /// The record of a configuration: no range is taken and nothing made.
    pub(crate) fn template(
        &self,
        request: &CreateRequest,
        networks: &[Network],
    ) -> Result<Network, Error> {
        if request.config_from.is_some() {
            return Err(Error::Configuration(
                "a configuration network cannot depend on another configuration network",
            ));
        }
        if request.internal || request.attachable {
            return Err(Error::Configuration(
                "configuration network can only contain network specific fields. Network operator fields like \
                 [ ingress | internal | attachable | scope ] are not supported.",
            ));
        }
        // What could never be is said at once.
        for pool in request.pools.iter().filter(|pool| !pool.subnet.is_empty()) {
            chosen_pool(parse_subnet("subnet", &pool.subnet)?, Some(pool), Gateways::BOTH)?;
        }
        let template = Template {
            pools: request.pools.clone(),
            ipv4: enabled(request.ipv4, &request.options, options::ENABLE_4, true)?,
            ipv6: enabled(request.ipv6, &request.options, options::ENABLE_6, false)?,
        };
        let config = Config {
            // As in Docker, where older engines are not to use it.
            driver: Driver::Null,
            pools: Vec::new(),
            idle: Vec::new(),
            ipam_options: request.ipam_options.clone(),
            bridge: String::new(),
            mtu: DEFAULT_MTU,
            internal: false,
            icc: true,
            masquerade: true,
            labels: request.labels.clone(),
            options: request.options.clone(),
            attachable: false,
            extras: Extras::default(),
            parent: None,
            template: Some(template),
            configured_by: None,
        };
        let id = self.new_id(networks)?;
        Ok(Network { id, name: request.name.clone(), created: now(), config })
    }
}

/// A request with what the configuration says that it names; it may say nothing of that itself.
pub(crate) fn configured(tx: &Read, request: &CreateRequest) -> Result<CreateRequest, Error> {
    let Some(from) = request.config_from.as_ref().filter(|_| !request.config_only) else {
        return Ok(request.clone());
    };
    let says_something = request.ipv4 == Some(false)
        || request.ipv6 == Some(true)
        || !request.labels.is_empty()
        || !request.pools.is_empty()
        || request.ipam_options.as_ref().is_some_and(|options| !options.is_empty());
    if says_something {
        return Err(Error::Configuration(
            "user specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    if !request.options.is_empty() {
        return Err(Error::Configuration(
            "network driver options are not supported if the network depends on a configuration network",
        ));
    }
    let networks = all(tx)?;
    let found = networks.into_iter().find(|one| one.name == *from);
    let Some((config, template)) =
        found.and_then(|one| one.config.template.clone().map(|template| (one.config, template)))
    else {
        return Err(Error::NoConfiguration { name: from.clone() });
    };
    Ok(CreateRequest {
        pools: template.pools,
        ipam_options: config.ipam_options,
        ipv4: Some(template.ipv4),
        ipv6: Some(template.ipv6),
        options: config.options,
        labels: config.labels,
        ..request.clone()
    })
}

/// Refuses to remove a configuration that a network was made with.
pub(crate) fn check_unused(tx: &Read, network: &Network) -> Result<(), Error> {
    let is_of_it =
        |one: &Network| one.config.configured_by.as_deref() == Some(network.name.as_str());
    if network.is_configuration() && all(tx)?.iter().any(is_of_it) {
        return Err(Error::ConfigurationInUse { name: network.name.clone() });
    }
    Ok(())
}
