//! What a server's settings mean for a ledger, in sentences.

use std::collections::BTreeMap;

use super::{RedisStore, info};

pub(super) fn notes(store: &mut RedisStore) -> Vec<String> {
    let info = match store.ask(|connected, _, _| Ok(info(&mut connected.connection)?)) {
        Ok(info) => info,
        Err(error) => return vec![error.to_string()],
    };
    let mut setting = |name: &str| {
        let values: Option<BTreeMap<String, String>> = store.query(redis::cmd("CONFIG").arg("GET").arg(name)).ok();
        values.and_then(|mut values| values.remove(name))
    };
    let (sync, save) = (setting("appendfsync"), setting("save"));
    sentences(&info, sync.as_deref(), save.as_deref())
}

fn sentences(info: &BTreeMap<String, String>, sync: Option<&str>, save: Option<&str>) -> Vec<String> {
    let value = |name: &str| info.get(name).map(String::as_str);
    let mut notes = Vec::new();
    let mut note = |text: &str| notes.push(text.to_owned());
    if value("aof_enabled") == Some("1") {
        match sync {
            Some("always") => {}
            Some("no") => note(
                "appendfsync is no: a crash of the machine loses what the system had not written yet, often half a minute; set it to always",
            ),
            Some(_) => note(
                "appendfsync is everysec: a crash of the machine loses up to the last second or two; set it to always",
            ),
            None => note(
                "CONFIG may not be asked, so it is not known how often the server syncs; appendfsync should be always",
            ),
        }
    } else {
        match save {
            Some("") => note(
                "nothing is kept on disk (appendonly is off, and save is empty): a restart loses the ledger; set appendonly yes",
            ),
            Some(_) => note(
                "only snapshots are kept on disk (appendonly is off): a crash loses all since the last one; set appendonly yes",
            ),
            None => note(
                "appendonly is off, and CONFIG may not be asked: a crash loses all since the last snapshot, if there are any",
            ),
        }
    }
    if value("role") == Some("slave") {
        note("this server is a replica: it refuses changes");
    }
    if value("connected_slaves").is_some_and(|replicas| replicas != "0") {
        note(
            "replicas follow a moment later: a failover may lose the last changes; who has seen them is told that the ledger went back",
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(info: &[(&str, &str)], sync: Option<&str>, save: Option<&str>, begin: &[&str]) {
        let info = info.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let notes = sentences(&info, sync, save);
        assert_eq!(notes.len(), begin.len(), "{notes:?}");
        assert!(notes.iter().zip(begin).all(|(note, begin)| note.starts_with(begin)), "{notes:?}");
    }

    #[test]
    fn what_is_weaker_than_one_may_think_is_said() {
        check(&[("aof_enabled", "1")], Some("always"), Some(""), &[]);
        check(&[("aof_enabled", "1")], Some("everysec"), Some(""), &["appendfsync is everysec"]);
        check(&[("aof_enabled", "1")], Some("no"), None, &["appendfsync is no"]);
        check(&[("aof_enabled", "1")], None, None, &["CONFIG may not be asked"]);
        check(&[("aof_enabled", "0")], None, Some(""), &["nothing is kept on disk"]);
        check(&[("aof_enabled", "0")], None, Some("3600 1"), &["only snapshots"]);
        check(&[("aof_enabled", "0")], None, None, &["appendonly is off, and CONFIG"]);
        let replicas = [("aof_enabled", "1"), ("role", "master"), ("connected_slaves", "2")];
        check(&replicas, Some("always"), None, &["replicas follow"]);
        check(&[("aof_enabled", "1"), ("role", "slave")], Some("always"), None, &["this server is a replica"]);
    }
}
