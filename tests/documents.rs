//! The documents name files that exist, and link to places that exist.

// Clippy takes a helper of a test for no test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` whose names end with `ending`.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if ["target", "data"].contains(&&*name) || name.starts_with('.') => {}
            true => found.extend(files(&path, ending)),
            false => found.extend(name.ends_with(ending).then_some(path)),
        }
    }
    found
}

/// The text without blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// What stands between `begin` and `end`, each time.
fn between<'a>(text: &'a str, begin: &str, end: char) -> Vec<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

/// The anchor that a heading gets: in lower case, without punctuation, with a dash for each blank.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = letters.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn anchors(document: &Path) -> BTreeSet<String> {
    let text = prose(&fs::read_to_string(document).unwrap());
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn each_link_within_the_project_leads_somewhere() {
    let mut broken = Vec::new();
    for document in files(root(), ".md") {
        let text = prose(&fs::read_to_string(&document).unwrap());
        for link in between(&text, "](", ')').into_iter().filter(|link| !link.contains("://")) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let is_there = target.exists() && (place.is_empty() || anchors(&target).contains(place));
            if !is_there {
                broken.push(format!("{}: {link}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn each_source_file_that_a_document_names_exists() {
    let sources: Vec<String> = files(root(), ".rs").iter().map(|path| format!("/{}", path.display())).collect();
    let mut missing = Vec::new();
    for document in files(root(), ".md") {
        let text = prose(&fs::read_to_string(&document).unwrap());
        let named =
            text.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs") && !name.contains(['{', '*']));
        for name in named {
            if !sources.iter().any(|source| source.ends_with(&format!("/{name}"))) {
                missing.push(format!("{}: {name}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}
