//! The rules of a list as a tree of labels, from the last label to the first. All of its edges stand in one hash table: a list is
//! read in a millisecond, and looking a name up takes a probe a label.

use std::borrow::Cow;
use std::hash::Hasher as _;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::SuffixListError;
use crate::dense::dense;

/// The part of the list that a rule stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Icann,
    Private,
}

/// What ends at a node.
#[derive(Clone, Copy, Debug)]
struct Rule {
    section: Section,
    exception: bool,
}

#[derive(Clone, Copy, Default, Debug)]
struct Node {
    rule: Option<Rule>,
    /// Its child `*`, where there is one.
    wildcard: Option<u32>,
}

/// From a node to the one below it; the label stands in [`Rules::labels`].
#[derive(Clone, Copy, Debug)]
struct Edge {
    above: u32,
    below: u32,
    label_at: u32,
    label_len: u32,
}

/// The rules of a list.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    nodes: Vec<Node>,
    edges: HashTable<Edge>,
    /// The rules' texts, one after the other.
    labels: Vec<u8>,
}

/// The suffix of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Suffix {
    /// Where it starts.
    pub(super) at: usize,
    /// The section of the rule that prevails; without one the last label is the suffix.
    pub(super) section: Option<Section>,
    /// Where the shortest tail starts that leads out of the rules: labels before it can't be seen. `None`: all were looked at.
    pub(super) seen_from: Option<usize>,
}

const ROOT: u32 = 0;
/// More than the list has rules, so that the table never grows while it is read.
const EDGES: usize = 14_000;

impl Rules {
    /// Reads the list's lines.
    pub(super) fn parse(list: &str) -> Result<Self, SuffixListError> {
        let mut rules = Self {
            nodes: Vec::with_capacity(EDGES),
            edges: HashTable::with_capacity(EDGES),
            labels: Vec::with_capacity(list.len() / 2),
        };
        rules.nodes.push(Node::default());
        let begin = memchr::memmem::Finder::new("BEGIN ");
        let mut section = None;
        for line in list.lines() {
            if line.starts_with("//") {
                let begun = begin.find(line.as_bytes()).map_or("", |at| &line[at + "BEGIN ".len()..]);
                if begun.starts_with("ICANN DOMAINS") {
                    section = Some(Section::Icann);
                } else if begun.starts_with("PRIVATE DOMAINS") {
                    section = Some(Section::Private);
                }
            } else if let (Some(section), Some(rule)) = (section, line.split_whitespace().next()) {
                rules.insert(rule, section)?;
            }
        }
        if rules.edges.is_empty() {
            return Err(SuffixListError::Rule("the provided list is not valid".to_owned()));
        }
        rules.let_wildcards_hold();
        Ok(rules)
    }

    fn insert(&mut self, rule: &str, section: Section) -> Result<(), SuffixListError> {
        let ascii = ascii(rule)?;
        let exception = ascii.starts_with('!');
        if exception && !ascii.contains('.') {
            return Err(SuffixListError::Rule(format!("`{rule}`; exceptions only valid at end of rule")));
        }
        let text = ascii.trim_start_matches('!');
        let (mut node, mut end) = (ROOT, text.len());
        let base = self.labels.len();
        self.labels.extend_from_slice(text.as_bytes());
        for label in text.rsplit('.') {
            if label.is_empty() {
                return Err(SuffixListError::Rule(format!("rule `{rule}` contains an empty label")));
            }
            let start = end - label.len();
            node = self.child_or_new(node, base + start, label.as_bytes());
            end = start.saturating_sub(1);
        }
        self.nodes[node as usize].rule = Some(Rule { section, exception });
        Ok(())
    }

    /// The node below `above` at a label, which stands at `at` in the texts.
    fn child_or_new(&mut self, above: u32, at: usize, label: &[u8]) -> u32 {
        if let Some(node) = self.child(above, label) {
            return node;
        }
        let below = dense(self.nodes.len());
        let edge = Edge { above, below, label_at: dense(at), label_len: dense(label.len()) };
        let labels = &self.labels;
        self.edges.insert_unique(hash(above, label), edge, |edge| hash(edge.above, edge.label(labels)));
        self.nodes.push(Node::default());
        if label == b"*" {
            self.nodes[above as usize].wildcard = Some(below);
        }
        below
    }

    #[inline]
    fn child(&self, above: u32, label: &[u8]) -> Option<u32> {
        let same = |edge: &Edge| edge.above == above && edge.label(&self.labels) == label;
        self.edges.find(hash(above, label), same).map(|edge| edge.below)
    }

    /// Lets a wildcard hold for labels that stand beside it only because longer rules lead through them: with `*.run.app` and
    /// `*.mtls.run.app`, the name `mtls.run.app` is a suffix by the first.
    fn let_wildcards_hold(&mut self) {
        for edge in &self.edges {
            let wildcard = self.nodes[edge.above as usize].wildcard;
            if self.nodes[edge.below as usize].rule.is_none()
                && let Some(wildcard) = wildcard
            {
                self.nodes[edge.below as usize].rule = self.nodes[wildcard as usize].rule;
            }
        }
    }

    /// The suffix of a name by the rule that prevails: an exception, else the one with the most labels, else `*`.
    #[inline]
    pub(super) fn suffix(&self, name: &[u8]) -> Suffix {
        let mut suffix = Suffix { at: 0, section: None, seen_from: None };
        let (mut node, mut end) = (ROOT, name.len());
        loop {
            let start = name[..end].iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
            if node == ROOT {
                suffix.at = start;
            }
            let wildcard = self.nodes[node as usize].wildcard.filter(|_| node != ROOT);
            let Some(below) = self.child(node, &name[start..end]).or(wildcard) else {
                suffix.seen_from = Some(start);
                return suffix;
            };
            match self.nodes[below as usize].rule {
                None => {}
                Some(Rule { section, exception: true }) => {
                    return Suffix { at: end + 1, section: Some(section), seen_from: Some(start) };
                }
                Some(Rule { section, exception: false }) => (suffix.at, suffix.section) = (start, Some(section)),
            }
            if start == 0 {
                return suffix;
            }
            (node, end) = (below, start - 1);
        }
    }
}

impl Edge {
    fn label<'a>(&self, labels: &'a [u8]) -> &'a [u8] {
        &labels[self.label_at as usize..][..self.label_len as usize]
    }
}

#[inline]
fn hash(above: u32, label: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(above);
    hasher.write(label);
    hasher.finish()
}

/// A rule in A-labels.
fn ascii(rule: &str) -> Result<Cow<'_, str>, SuffixListError> {
    let plain = rule.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'*' | b'!'));
    if plain && !rule.contains("xn--") {
        return Ok(Cow::Borrowed(rule));
    }
    let ascii = idna::domain_to_ascii(rule);
    ascii.map(Cow::Owned).map_err(|_invalid| SuffixListError::Rule(format!("rule `{rule}` is invalid")))
}
