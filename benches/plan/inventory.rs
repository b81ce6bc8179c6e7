//! A made-up inventory, as a hosting provider exports one: a few domains with very many subdomains, very many with few or none.
//!
//! Everything comes from the seed: the same numbers give the same bytes. A row is 79 bytes long on average.

use std::io::{self, Write};

/// How large, and which of all those of that size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inventory {
    /// Rows; each has a name of its own.
    pub(crate) hostnames: usize,
    /// Registered domains; no more than there are names.
    pub(crate) domains: usize,
    pub(crate) seed: u64,
}

/// How often each stands here is how often it comes.
const SUFFIXES: [(usize, &str); 20] = [
    (50, "com"),
    (8, "net"),
    (8, "org"),
    (6, "de"),
    (6, "co.uk"),
    (4, "io"),
    (4, "com.br"),
    (3, "co.jp"),
    (1, "fr"),
    (1, "nl"),
    (1, "com.au"),
    (1, "dev"),
    (1, "app"),
    (1, "shop"),
    (1, "github.io"),
    (1, "netlify.app"),
    (1, "s3.amazonaws.com"),
    (1, "k12.ma.us"),
    (1, "xn--p1ai"),
    (1, "xn--fiqs8s"),
];
const WORDS: [&str; 16] = [
    "amber", "bridge", "cedar", "delta", "ember", "falcon", "garden", "harbor", "island", "juniper", "kestrel",
    "lantern", "meadow", "northern", "orchard", "silver",
];
const LABELS: [&str; 16] = [
    "www", "mail", "api", "blog", "shop", "cdn", "static", "dev", "staging", "app", "m", "docs", "status", "auth",
    "login", "img",
];
/// How fast the number of subdomains falls from the largest domain to the next ones: with this power of the rank.
const TAIL: f64 = -0.9;
const DOMAINS_PER_TENANT: usize = 10;
const ACCOUNTS: usize = 8;
const GROUPS: usize = 40;

impl Inventory {
    /// One registered domain for three names.
    pub(crate) fn of(hostnames: usize) -> Self {
        Self { hostnames, domains: hostnames.div_ceil(3), seed: 1 }
    }

    /// Writes it as CSV, domain after domain.
    pub(crate) fn write(self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "hostname,account,tenant,group,profile,priority")?;
        let mut random = Random(self.seed);
        let suffixes: Vec<&str> =
            SUFFIXES.iter().flat_map(|(times, suffix)| std::iter::repeat_n(*suffix, *times)).collect();
        let tenants = self.domains.div_ceil(DOMAINS_PER_TENANT);
        for (rank, subdomains) in self.subdomains().enumerate() {
            let (first, second) = (random.pick(&WORDS), random.pick(&WORDS));
            let domain = format!("{first}-{second}-{rank:x}.{}", random.pick(&suffixes));
            let tenant = random.below(tenants);
            // What a customer pays for goes for all of its domains.
            let (profile, priority) = match tenant % 10 {
                0 => ("tlsserver", 5),
                _ => ("classic", 0),
            };
            let account = 1_048_576 + tenant % ACCOUNTS;
            let rest =
                format!(",le-acct-{account},customer-{tenant},cluster-{:02},{profile},{priority}", tenant % GROUPS);
            writeln!(out, "{domain}{rest}")?;
            for index in 0..subdomains {
                let region = if index % 7 == 0 { "eu." } else { "" };
                match LABELS.get(index) {
                    Some(label) => writeln!(out, "{label}.{region}{domain}{rest}")?,
                    None => writeln!(out, "h{index}.{region}{domain}{rest}")?,
                }
            }
        }
        Ok(())
    }

    /// How many subdomains each domain has, the largest first; with the domains themselves they are all the names.
    fn subdomains(self) -> impl Iterator<Item = usize> {
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
        let weight = |rank: usize| (rank as f64).powf(TAIL);
        let (total, mut left): (f64, usize) = ((1..=self.domains).map(weight).sum(), self.hostnames - self.domains);
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
        let (scale, mut carry) = (left as f64 / total, 0.0);
        (1..=self.domains).map(move |rank| {
            carry += weight(rank) * scale;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and not negative")]
            let share = carry.floor() as usize;
            let subdomains = if rank == self.domains { left } else { share.min(left) };
            carry -= carry.floor();
            left -= subdomains;
            subdomains
        })
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % end as u64).unwrap_or_else(|_large| unreachable!("it is below a usize"))
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}
