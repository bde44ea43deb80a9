//! The one right that the image's program may take up: to bind ports below 1024.
//!
//! The file carries CAP_NET_BIND_SERVICE as permitted and not as effective: it then starts where the pod is not
//! granted the capability, too (the kernel refuses to execute a file whose effective ones it must withhold). So where
//! it was granted, it is taken up here.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Takes up the right to bind ports below 1024, where this process may. Threads inherit it from the one that starts
/// them, so this comes before any of them.
pub fn take_up_low_ports() {
    let raised =
        capabilities(None).and_then(|held| with_low_ports(held).map_or(Ok(()), |sets| set_capabilities(None, sets)));
    if let Err(error) = raised {
        // ports of 1024 and above need nothing; a lower one will say what it lacks when it is bound
        tracing::warn!(%error, "CAP_NET_BIND_SERVICE cannot be taken up");
    }
}

/// What to hold instead; none where it may not be taken up, or already is.
fn with_low_ports(held: CapabilitySets) -> Option<CapabilitySets> {
    let wanted = CapabilitySet::NET_BIND_SERVICE;
    let may = held.permitted.contains(wanted) && !held.effective.contains(wanted);
    may.then(|| CapabilitySets { effective: held.effective | wanted, ..held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_taken_up_where_it_is_permitted_and_nothing_else_is() {
        let none = CapabilitySet::empty();
        let (low, chown) = (CapabilitySet::NET_BIND_SERVICE, CapabilitySet::CHOWN);
        let held = |permitted, effective| CapabilitySets { permitted, effective, inheritable: none };
        let after = |permitted, effective| with_low_ports(held(permitted, effective)).map(|sets| sets.effective);
        assert_eq!(after(low, none), Some(low));
        assert_eq!(after(low | chown, chown), Some(low | chown));
        assert_eq!(after(low, low), None);
        assert_eq!(after(chown, chown), None);
        assert_eq!(after(none, none), None);
    }
}
