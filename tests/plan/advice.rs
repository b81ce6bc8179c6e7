//! What is advised, against plans made with each change.

use certpace::plan::advise::{Change, advise};
use certpace::plan::{Mix, Options, plan};
use certpace::time::Span;
use proptest::prelude::*;

use super::world::{Quotas, Row, Tokens, at_most, config, inventory};

const DAY_SECONDS: i64 = 86_400;

/// How many names each of some domains has, by turns of three tenants and two accounts.
fn rows(names: &[usize]) -> Vec<Row> {
    let row = |domain: usize, name: usize| Row {
        tenant: ["", "t1", "t2"][domain % 3].to_owned(),
        account: ["main", "second"][domain / 3 % 2].to_owned(),
        ..Row::named(format!("h{name}.d{domain}.com"))
    };
    let of_domain =
        |(domain, names): (usize, &usize)| (0..*names).map(move |name| row(domain, name)).collect::<Vec<_>>();
    names.iter().enumerate().flat_map(of_domain).collect()
}

proptest! {
    #![proptest_config(config(256))]

    /// Whatever is not planned with since it can't help would not have helped.
    #[test]
    fn mixing_is_advised_exactly_where_it_finishes_sooner(
        names in prop::collection::vec(0..14_usize, 1..12),
        account in (1..4_i64, 1..DAY_SECONDS), domain in (1..4_i64, 1..3 * DAY_SECONDS),
        margin in 0..2 * DAY_SECONDS, capacity in 2..5_usize,
    ) {
        let inventory = inventory(&rows(&names));
        let limits = Quotas::new(Tokens::new(account.0, account.1), Tokens::new(domain.0, domain.1)).limits();
        let options = Options { margin: Some(Span::from_seconds(margin)), ..at_most(capacity) };
        let today = plan(&inventory, &limits, options.clone()).unwrap();
        let mixed = plan(&inventory, &limits, Options { mix: Mix::Tenant, ..options }).unwrap();
        let Some((finish, sooner)) = today.summary.last_at.zip(mixed.summary.last_at) else { return Ok(()) };
        let has_tenants = inventory.tenants.iter().any(|tenant| !tenant.is_empty()) && inventory.domain_count() > 1;
        let is_long = finish.since(today.options.start) > Span::from_days(1);
        let advised = advise(&today).steps.iter().any(|step| step.change == Change::MixTenant);
        prop_assert_eq!(advised, has_tenants && is_long && sooner < finish);
    }
}
