//! Which version of a kind the cluster serves, asked of its discovery.

use kube::Client;

use crate::api::Kind;

/// What the cluster says of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// It serves this version, the best that we understand.
    In(&'static str),
    /// It does not have the kind, or only in versions that we do not understand.
    Not,
}

/// Asks for the best version of a kind.
///
/// # Errors
/// The API server does not answer, or refuses: nothing is known then.
pub async fn served(client: &Client, kind: Kind) -> Result<Served, kube::Error> {
    for version in kind.versions() {
        let group = kind.group();
        let resources = if group.is_empty() {
            client.list_core_api_resources(version).await
        } else {
            client.list_api_group_resources(&format!("{group}/{version}")).await
        };
        match resources {
            Ok(list) if list.resources.iter().any(|resource| resource.name == kind.plural()) => {
                return Ok(Served::In(version));
            }
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Served::Not)
}

/// Whether the API server has no such thing, as opposed to not saying.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
