//! Orders whose names went different ways, since one of them failed: a restart must not put them together again.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::document::{self, Document, names};
use super::{PlanOrder, StoreError};
use crate::digest::sha256;
use crate::issuer::files;
use crate::name::{NameSet, SetKey};

/// An order that is ordered in two parts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Split {
    /// Its names.
    #[serde(with = "names")]
    pub names: NameSet,
    /// Those without the one that failed.
    #[serde(with = "names")]
    pub rest: NameSet,
    /// The one that failed.
    #[serde(with = "names")]
    pub alone: NameSet,
    /// The URL of the account.
    pub account: String,
    /// Its profile.
    pub profile: Option<String>,
    /// Whose certificate it is.
    pub tenant: Option<String>,
    /// How it is validated.
    pub challenge: Option<String>,
    /// Which order of which plan it is.
    pub plan: Option<PlanOrder>,
}

impl Document for Split {
    const KEY: &'static str = "certpace_split";
}

/// Keeps one.
pub(super) fn write(folder: &Path, split: &Split) -> Result<(), StoreError> {
    files::make_folder(folder)?;
    let of = split.plan.as_ref().map(|plan| format!("{}-{}-", &plan.plan[..plan.plan.len().min(8)], plan.order));
    // The same names may be split at another CA, by another account.
    let account = sha256([split.account.as_bytes()]);
    let name = format!("{}{}-{}.json", of.unwrap_or_default(), &split.names.key().to_string()[..16], &account[..8]);
    Ok(files::write(&folder.join(name), &document::text(split), files::OPEN)?)
}

/// The parts that are not split themselves, each with the split that it came of; of orders of that plan, or of no plan.
pub(super) fn parts(folder: &Path, plan: Option<&str>) -> Result<Vec<(NameSet, Split)>, StoreError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = files::entries(folder)?;
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    let mut splits: Vec<Split> = Vec::new();
    for name in names {
        splits.extend(document::read::<Split>(&folder.join(name))?);
    }
    splits.retain(|split| split.plan.as_ref().map(|of| &*of.plan) == plan);
    // The same plan may have been performed at another CA, by another account.
    let of =
        |split: &Split, names: &NameSet| (split.account.clone(), split.plan.as_ref().map(|of| of.order), names.key());
    let whole: BTreeSet<(String, Option<u64>, SetKey)> = splits.iter().map(|split| of(split, &split.names)).collect();
    let parts =
        splits.into_iter().flat_map(|split| [(split.rest.clone(), split.clone()), (split.alone.clone(), split)]);
    Ok(parts.filter(|(part, split)| !whole.contains(&of(split, part))).collect())
}
