//! Files and the arrows between them, folder by folder.

use std::collections::{BTreeMap, BTreeSet};

/// The files of a crate or a package.
pub(crate) struct Files {
    /// Their paths from its root.
    pub(crate) paths: Vec<String>,
    /// From whom to whom, by their places in `paths`, with the names that are used.
    pub(crate) arrows: BTreeMap<(usize, usize), BTreeSet<String>>,
}

/// Arrows between the files and sub-folders of a folder, with the names that are used.
type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

impl Files {
    /// The circles of each folder below `root`, with the arrows that close them.
    pub(crate) fn circles(&self, root: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (folder, arrows) in self.by_folder() {
            for circle in circles(&arrows) {
                let place = format!("{root}/{folder}");
                let mut text = format!("{}: {}", place.trim_end_matches('/'), circle.join(", "));
                for ((from, to), names) in &arrows {
                    if circle.contains(from) && circle.contains(to) {
                        let names = names.iter().cloned().collect::<Vec<_>>().join(", ");
                        text += &format!("\n    {from} -> {to}: {names}");
                    }
                }
                found.push(text);
            }
        }
        found
    }

    /// The arrows of each folder: between its files and sub-folders (`name/`).
    fn by_folder(&self) -> BTreeMap<String, Arrows> {
        let mut folders: BTreeMap<String, Arrows> = BTreeMap::new();
        for ((from, to), names) in &self.arrows {
            let (from, to) = (&self.paths[*from], &self.paths[*to]);
            let common = from.split('/').zip(to.split('/')).take_while(|(a, b)| a == b).count();
            let node = |path: &str| {
                let mut rest = path.split('/').skip(common);
                let node = rest.next().unwrap_or_default().to_string();
                if rest.next().is_some() { node + "/" } else { node }
            };
            let folder = from.split('/').take(common).collect::<Vec<_>>().join("/");
            let of_folder = folders.entry(folder).or_default();
            of_folder.entry((node(from), node(to))).or_default().extend(names.iter().cloned());
        }
        folders
    }
}

/// The circles among arrows: each the files that lead to one another, in order.
fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, _) in arrows.keys() {
        let mut found = BTreeSet::new();
        let mut left = vec![from.as_str()];
        while let Some(node) = left.pop() {
            let next = arrows.keys().filter(|(from, _)| from == node).map(|(_, to)| to.as_str());
            left.extend(next.filter(|to| found.insert(*to)));
        }
        reached.insert(from, found);
    }
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|found| found.contains(to));
    let found: BTreeSet<Vec<String>> = reached
        .keys()
        .filter(|node| leads(node, node))
        .map(|node| {
            let both = |other: &&&str| leads(node, other) && leads(other, node);
            reached.keys().filter(both).map(|node| node.to_string()).collect()
        })
        .collect();
    found.into_iter().collect()
}
