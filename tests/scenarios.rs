//! The stories in `scenarios/` and what `docs/scenarios.md` says of their format. `tests/run` runs them: `certpace test scenarios`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;

use certpace::sim::scenario::Scenario;
use certpace::sim::{Behaviour, Measure};

fn stories() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir("scenarios").unwrap().map(|entry| entry.unwrap().path());
    let stories = files.filter(|path| path.is_file());
    stories.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn each_tells_a_story_and_expects_more_than_one_thing() {
    assert!(stories().len() >= 15);
    for (path, text) in stories() {
        let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            text.starts_with("# ") && text.lines().take_while(|line| line.starts_with('#')).count() >= 2,
            "{path:?}"
        );
        assert!(scenario.expects.len() >= 2, "{path:?}");
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(stem.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{path:?}");
    }
}

#[test]
fn every_measure_and_client_is_documented() {
    let docs = fs::read_to_string("docs/scenarios.md").unwrap();
    for measure in Measure::all() {
        let name = measure.to_string();
        let name = match measure {
            Measure::RefusalsBy(_) => "refusals.LIMIT".to_owned(),
            Measure::TokensLeft(_) => "tokens_left.LIMIT".to_owned(),
            Measure::FirstCertificate(_) => name.replace("first_certificate", ""),
            _ => name,
        };
        assert!(docs.contains(&format!("`{name}`")) || docs.contains(&format!("`first_certificate{name}`")), "{name}");
        assert!(docs.contains(measure.meaning()), "{measure}");
    }
    for behaviour in Behaviour::ALL {
        assert!(docs.contains(&format!("`{behaviour}`")), "{behaviour}");
    }
}
