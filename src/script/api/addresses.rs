//! Addresses and networks.

use crate::base::network;
use crate::script::ScriptResult;
use rhai::plugin::export_module;

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// Whether an address lies in a network: `10.0.0.0/8`, `2001:db8::/32`, one address, or a range `10.0.0.1-10.0.0.9`.
    ///
    /// # Example
    /// ```rhai
    /// assert(in_network("10.1.2.3", "10.0.0.0/8"));
    /// assert(!["192.0.2.0/24", "2001:db8::/32"].some(|n| in_network("10.1.2.3", n)));
    /// ```
    #[rhai_fn(return_raw)]
    pub fn in_network(address: &str, network: &str) -> ScriptResult<bool> {
        Ok(network::lies_in(address, network)?)
    }
}
