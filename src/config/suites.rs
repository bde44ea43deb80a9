//! The cipher suites of TLS that may be chosen, by the names and numbers of IANA's registry.

use super::layers::{meant_or, nearest};
use super::{Config, Fault, Setting, TlsVersion};

/// A suite: its name, its number, and the version that knows it.
type Suite = (&'static str, u16, TlsVersion);

/// Those that rustls has (with ring). None of them is known to be weak.
const SUITES: [Suite; 9] = [
    ("TLS_AES_256_GCM_SHA384", 0x1302, TlsVersion::V13),
    ("TLS_AES_128_GCM_SHA256", 0x1301, TlsVersion::V13),
    ("TLS_CHACHA20_POLY1305_SHA256", 0x1303, TlsVersion::V13),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c, TlsVersion::V12),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b, TlsVersion::V12),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9, TlsVersion::V12),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030, TlsVersion::V12),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f, TlsVersion::V12),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8, TlsVersion::V12),
];

/// Suites of TLS; none named stands for all that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CipherSuites(Vec<Suite>);

impl CipherSuites {
    /// Their numbers.
    #[must_use]
    pub fn numbers(&self) -> Vec<u16> {
        self.0.iter().map(|(_, number, _)| *number).collect()
    }

    /// Why they do not go with a least version.
    pub(super) fn contradiction(&self, least: TlsVersion) -> Option<String> {
        let of = |version| self.0.iter().find(move |(_, _, of)| *of == version);
        match (of(TlsVersion::V12), of(TlsVersion::V13)) {
            _ if self.0.is_empty() => None,
            (_, None) => Some("TLS 1.3 is left without a suite: name one, as TLS_AES_128_GCM_SHA256".to_owned()),
            (None, _) if least == TlsVersion::V12 => {
                let setting = Config::FIELDS.iter().find(|field| field.name == "tls_min_version");
                let setting = setting.map(super::Field::key).unwrap_or_default();
                Some(format!(
                    "TLS 1.2 is left without a suite: name one, as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, or set \
                     {setting} to 1.3"
                ))
            }
            (Some((name, ..)), _) if least == TlsVersion::V13 => {
                Some(format!("{name} is a suite of TLS 1.2, which is not spoken"))
            }
            _ => None,
        }
    }
}

impl Setting for CipherSuites {
    const ALLOWED: &'static str = "names of suites separated by commas, as TLS_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: \
         those that end in GCM_SHA256, GCM_SHA384 or CHACHA20_POLY1305_SHA256 and, in TLS 1.2, begin with TLS_ECDHE";

    /// rustls' own names of the suites of TLS 1.3 (TLS13_AES_…) are taken, too.
    fn parse(text: &str) -> Option<Self> {
        let suite = |name: &str| {
            let name = name.trim().replace("TLS13_", "TLS_");
            SUITES.iter().find(|(known, ..)| *known == name).copied()
        };
        if text.trim().is_empty() {
            return Some(CipherSuites::default());
        }
        text.split(',').map(suite).collect::<Option<_>>().map(CipherSuites)
    }

    /// The first name that is none.
    fn fault(text: &str) -> Option<Fault> {
        let unknown = text.split(',').find(|name| Self::parse(name).is_none_or(|suites| suites.0.is_empty()))?.trim();
        let names: Vec<&str> = SUITES.iter().map(|(name, ..)| *name).collect();
        let nearest = nearest(unknown, &names).map(|nearest| format!("{nearest:?}"));
        Some(Fault::new("", format!("found {unknown:?}{}", meant_or(nearest, &names.join(", ")))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Field, Layers};

    #[test]
    fn the_table_is_what_rustls_has() {
        let provider = rustls::crypto::ring::default_provider();
        let has: Vec<(String, u16, bool)> = provider
            .cipher_suites
            .iter()
            .map(|suite| {
                let name = suite.suite().as_str().unwrap().replace("TLS13_", "TLS_");
                (name, u16::from(suite.suite()), suite.tls13().is_some())
            })
            .collect();
        let ours: Vec<_> =
            SUITES.iter().map(|(name, number, of)| ((*name).to_owned(), *number, *of == TlsVersion::V13)).collect();
        assert_eq!(ours, has);
    }

    fn resolve(suites: &str, least: &str) -> Result<Config, String> {
        let mut layers = Layers::default();
        layers.set_flag(Field::named("tls_cipher_suites").unwrap(), suites);
        layers.set_flag(Field::named("tls_min_version").unwrap(), least);
        Config::resolve(&layers).map_err(|error| error.to_string())
    }

    #[test]
    fn suites_are_named_as_iana_or_rustls_names_them() {
        let config = resolve("TLS13_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "1.2").unwrap();
        assert_eq!(config.tls_cipher_suites.numbers(), [0x1301, 0xc02f]);
        assert!(resolve("", "1.3").unwrap().tls_cipher_suites.numbers().is_empty());
    }

    #[test]
    fn an_unknown_suite_is_refused_with_the_nearest() {
        let told = resolve("TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA384", "1.2").unwrap_err();
        assert!(told.starts_with("--tls-cipher-suites: found"), "{told}");
        assert!(told.contains("did you mean \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"?"), "{told}");
        let far = resolve("3DES", "1.2").unwrap_err();
        assert!(far.starts_with("--tls-cipher-suites: found \"3DES\"; known: TLS_AES_256_GCM_SHA384, "), "{far}");
        assert!(resolve("TLS_AES_128_GCM_SHA256,", "1.3").is_err());
    }

    #[test]
    fn a_version_without_a_suite_and_a_suite_without_its_version_are_refused() {
        let (old, new) = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256");
        let both = format!("{old},{new}");
        assert!(resolve(&both, "1.2").is_ok());
        assert!(resolve(new, "1.3").is_ok());
        for (suites, least, words) in [
            (old, "1.2", "TLS 1.3 is left without a suite"),
            (old, "1.3", "TLS 1.3 is left without a suite"),
            (new, "1.2", "or set tlsMinVersion to 1.3"),
            (&both, "1.3", "is a suite of TLS 1.2, which is not spoken"),
        ] {
            let told = resolve(suites, least).unwrap_err();
            assert!(told.starts_with("--tls-cipher-suites: ") && told.contains(words), "{told}");
        }
    }
}
