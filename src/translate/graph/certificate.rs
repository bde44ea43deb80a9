//! certificateRefs: from a reference to a certificate that can be presented.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::grant::Grants;
use super::problem::CertificateFault;
use crate::api::{Kind, ObjectKey, Secret, SecretObjectReference};
use crate::snapshot::tls::Certificate;
use crate::store::Resources;
use crate::translate::References;

const TLS_TYPE: &str = "kubernetes.io/tls";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Certificates, each parsed once however many listeners present it.
pub struct Certificates<'a> {
    resources: &'a Resources,
    grants: &'a Grants<'a>,
    parsed: HashMap<ObjectKey, Result<Certificate, CertificateFault<'a>>, FixedState>,
}

impl<'a> Certificates<'a> {
    /// Over the Secrets held.
    pub fn new(resources: &'a Resources, grants: &'a Grants<'a>) -> Self {
        Certificates { resources, grants, parsed: HashMap::default() }
    }

    /// The certificate that a Gateway of `namespace` refers to.
    ///
    /// Spec, InvalidCertificateRef: "must be used only when the reference is allowed", so the grant is asked
    /// before anything is looked at.
    pub fn resolve(
        &mut self,
        namespace: &'a str,
        reference: &'a SecretObjectReference,
    ) -> Result<Certificate, CertificateFault<'a>> {
        let target = reference.namespace.as_deref().unwrap_or(namespace);
        let (group, kind) = (reference.group.as_str(), reference.kind.as_str());
        if !self.grants.permit(Kind::Gateway, namespace, (group, kind), target, &reference.name) {
            return Err(CertificateFault::NotPermitted);
        }
        if (group, kind) != (Kind::Secret.group(), Kind::Secret.name()) {
            return Err(CertificateFault::Kind);
        }
        let key = ObjectKey::new(target, reference.name.as_str());
        if let Some(known) = self.parsed.get(&key) {
            return known.clone();
        }
        let read = self.resources.secrets.get(&key).map_or(Err(CertificateFault::NotFound), read);
        self.parsed.insert(key, read.clone());
        read
    }

    /// Notes every Secret that was looked for.
    pub fn note(&self, references: &mut References) {
        for key in self.parsed.keys() {
            references.add(Kind::Secret, &key.namespace, &key.name);
        }
    }
}

fn read(secret: &Secret) -> Result<Certificate, CertificateFault<'_>> {
    let found = secret.type_.as_deref().unwrap_or("Opaque");
    if found != TLS_TYPE {
        return Err(CertificateFault::Type(found));
    }
    let chain = entry(secret, CHAIN).ok_or(CertificateFault::KeyMissing(CHAIN))?;
    let key = entry(secret, KEY).ok_or(CertificateFault::KeyMissing(KEY))?;
    Certificate::from_pem(chain, key).map_err(CertificateFault::Malformed)
}

/// `stringData` wins over `data`, as an API server merges them; only files still have it.
fn entry<'a>(secret: &'a Secret, name: &str) -> Option<&'a [u8]> {
    let text = secret.string_data.as_ref().and_then(|entries| entries.get(name)).map(String::as_bytes);
    let bytes = || secret.data.as_ref().and_then(|entries| entries.get(name)).map(|bytes| bytes.0.as_slice());
    text.or_else(bytes).filter(|bytes| !bytes.is_empty())
}
