//! GatewayClasses: which are ours.

use std::collections::BTreeMap;

use super::problem::{ClassProblem, Remark};
use super::{Remarks, Settings};
use crate::api::gateway_class::GatewayClass;
use crate::api::{Kind, ObjectKey};
use crate::store::Resources;

/// A GatewayClass of ours.
#[derive(Debug)]
pub struct ClassNode<'a> {
    /// Its name.
    pub key: &'a ObjectKey,
    /// The object.
    pub class: &'a GatewayClass,
    /// What keeps it from being accepted.
    pub problem: Option<ClassProblem<'a>>,
}

/// Finds our classes, by name. "Handle only classes with our controllerName, reconcile nothing else" (6.7).
pub fn classes<'a>(
    resources: &'a Resources,
    settings: &Settings,
    remarks: &mut Remarks<'a>,
) -> BTreeMap<&'a str, ClassNode<'a>> {
    let mut ours = BTreeMap::new();
    for (key, class) in &resources.gateway_classes {
        if class.spec.controller_name == settings.controller_name {
            let problem = class.spec.parameters_ref.as_ref().map(ClassProblem::Parameters);
            ours.insert(key.name.as_str(), ClassNode { key, class, problem });
        } else {
            remarks.add(Kind::GatewayClass, key, Remark::ForeignClass(&class.spec.controller_name));
        }
    }
    ours
}
