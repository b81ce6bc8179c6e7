//! A seed decides everything: the same one gives the same bytes, whatever the number of threads.

use std::fmt::Write as _;

use certpace::sim::{Measures, Seed, Setup};
use rayon::prelude::*;

use super::world::{client, event, scenario, set_up, traced};

fn everything() -> Setup {
    let clients = client("caddy", "replicas = 2\nshare = \"50%\"") + &client("certbot", "share = \"50%\"");
    let events = event("failing-names", "1h", "share = \"20%\"\nprobability = \"50%\"\nuntil = \"5d\"")
        + &event("crash", "2h", "client = \"caddy\"\ndowntime = \"10m\"")
        + &event("strangers", "1h", "share = \"30%\"\ncertificates = 20\nevery = \"7d\"")
        + &event("revocation", "10d", "share = \"50%\"\ndeadline = \"1d\"")
        + &event("outage", "3d", "until = \"4d\"")
        + &event("policy", "8d", "name = \"letsencrypt-2025\"")
        + &event("remove-hostnames", "12d", "share = \"10%\"");
    set_up(&scenario(20, "hostnames = 60\ndomains = 20\ntenants = 7\nheld = \"30%\"", &(clients + &events)))
}

fn bytes(setup: &Setup, seed: Seed) -> (Measures, String) {
    let (measures, entries) = traced(setup, seed);
    let mut text = String::new();
    entries.iter().for_each(|entry| writeln!(text, "{entry:?}").unwrap());
    (measures, text)
}

#[test]
fn a_hundred_seeds_give_the_same_with_one_thread_and_with_two() {
    let setup = everything();
    let all = |threads: usize| -> Vec<(Measures, String)> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| (0..100).into_par_iter().map(|seed| bytes(&setup, Seed(seed))).collect())
    };
    let one = all(1);
    assert_eq!(one, all(2));
    assert_eq!(one[0], bytes(&everything(), Seed(0)), "nor does the set-up matter");
    assert_ne!(one[0].1, one[1].1, "another seed is another run");
}
